use crate::TrustPolicyError;
use crate::eks::iam::trust_policy::TrustPolicy;

/// An IAM role with its trust policy, for [`MockEksAuth::put_role`](crate::MockEksAuth::put_role).
///
/// ```
/// use pod_identity_testkit::Role;
///
/// let proper = Role::new("arn:aws:iam::111122223333:role/cart");
/// let common_mistake = Role::new("arn:aws:iam::111122223333:role/cart").trust_policy(
///     r#"{"Statement": [{
///         "Effect": "Allow",
///         "Principal": {"Service": "pods.eks.amazonaws.com"},
///         "Action": "sts:AssumeRole"
///     }]}"#,
/// )?;
/// # let _ = (proper, common_mistake);
/// # Ok::<(), pod_identity_testkit::TrustPolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Role {
    pub(crate) arn: String,
    pub(crate) trust: TrustPolicy,
}

impl Role {
    /// Returns a role that trusts EKS Pod Identity without conditions.
    pub fn new(arn: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            trust: TrustPolicy::parse(PODS).expect("the usual trust policy must parse"),
        }
    }

    /// Sets the trust policy, in IAM's JSON. Its statements' effect, principals (services, roles and
    /// accounts), actions and conditions on strings, ARNs, Booleans and null are evaluated.
    ///
    /// Conditions can use `aws:SourceAccount`, `aws:SourceArn` (the cluster's) and `aws:RequestTag/…` (the six
    /// session tags) when EKS assumes the role; `sts:ExternalId`, `aws:RequestTag/…` and
    /// `aws:PrincipalTag/…` when it is a target role. Any other key is absent.
    ///
    /// # Errors
    /// Fails if the text is not a trust policy, or has a condition that this mock cannot evaluate.
    pub fn trust_policy(mut self, json: &str) -> Result<Self, TrustPolicyError> {
        self.trust = TrustPolicy::parse(json)?;
        Ok(self)
    }

    /// Returns the ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }
}

/// The trust policy of the EKS user guide.
const PODS: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"]
    }]
}"#;
