use std::collections::BTreeMap;
use std::time::Duration;

/// A Pod Identity association: it gives a role to the pods of a service account.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_testkit::Association;
///
/// let plain = Association::new("shop", "cart", "arn:aws:iam::111122223333:role/cart");
/// assert_eq!(plain.credential_lifetime(), Duration::from_secs(6 * 3600));
/// let chained = plain.target_role_arn("arn:aws:iam::444455556666:role/orders");
/// assert_eq!(chained.credential_lifetime(), Duration::from_secs(59 * 60));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) role_arn: String,
    pub(crate) target_role_arn: Option<String>,
    pub(crate) disable_session_tags: bool,
    pub(crate) policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) owner_arn: Option<String>,
    lifetime: Option<Duration>,
}

impl Association {
    /// Returns an association of a service account with a role, `arn:aws:iam::{account}:role/{name}`.
    pub fn new(
        namespace: impl Into<String>,
        service_account: impl Into<String>,
        role_arn: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            service_account: service_account.into(),
            role_arn: role_arn.into(),
            target_role_arn: None,
            disable_session_tags: false,
            policy: None,
            tags: BTreeMap::new(),
            owner_arn: None,
            lifetime: None,
        }
    }

    /// Sets the target role, which the first role assumes: the pod gets the target role, for 59 minutes.
    pub fn target_role_arn(mut self, role_arn: impl Into<String>) -> Self {
        self.target_role_arn = Some(role_arn.into());
        self
    }

    /// Leaves the six tags out of its sessions.
    pub fn disable_session_tags(mut self) -> Self {
        self.disable_session_tags = true;
        self
    }

    /// Sets a session policy in JSON. The real service requires
    /// [`disable_session_tags`](Self::disable_session_tags) with it.
    pub fn policy(mut self, json: impl Into<String>) -> Self {
        self.policy = Some(json.into());
        self
    }

    /// Adds a tag to the association itself, not to its sessions.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Sets the ARN of the add-on that owns it.
    pub fn owner_arn(mut self, arn: impl Into<String>) -> Self {
        self.owner_arn = Some(arn.into());
        self
    }

    /// Sets the lifetime of its credentials, instead of that of the real service.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Returns the Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the name of the service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// Returns the role that EKS assumes.
    pub fn role_arn(&self) -> &str {
        &self.role_arn
    }

    /// Returns the role that a pod gets: the target role if there is one.
    pub fn effective_role_arn(&self) -> &str {
        self.target_role_arn.as_deref().unwrap_or(&self.role_arn)
    }

    /// Returns the [`lifetime`](Self::lifetime). Defaults to 6 hours, or 59 minutes with a target role, as in EKS.
    pub fn credential_lifetime(&self) -> Duration {
        let minutes = if self.target_role_arn.is_some() {
            59
        } else {
            6 * 60
        };
        self.lifetime.unwrap_or(Duration::from_secs(minutes * 60))
    }
}
