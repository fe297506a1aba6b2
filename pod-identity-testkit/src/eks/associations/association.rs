use std::collections::BTreeMap;
use std::time::Duration;

/// A Pod Identity association: pods of a service account get a role.
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
    /// An association of a service account with a role, `arn:aws:iam::{account}:role/{name}`.
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

    /// The role that the first role assumes in turn: the pod gets this one, for 59 minutes.
    pub fn target_role_arn(mut self, role_arn: impl Into<String>) -> Self {
        self.target_role_arn = Some(role_arn.into());
        self
    }

    /// Its sessions have none of the six tags.
    pub fn disable_session_tags(mut self) -> Self {
        self.disable_session_tags = true;
        self
    }

    /// A session policy, as JSON. The real service asks for
    /// [`disable_session_tags`](Self::disable_session_tags) with it.
    pub fn policy(mut self, json: impl Into<String>) -> Self {
        self.policy = Some(json.into());
        self
    }

    /// A tag of the association itself, not of its sessions.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// The add-on that owns it.
    pub fn owner_arn(mut self, arn: impl Into<String>) -> Self {
        self.owner_arn = Some(arn.into());
        self
    }

    /// How long its credentials live, instead of what the real service grants.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The role that EKS assumes.
    pub fn role_arn(&self) -> &str {
        &self.role_arn
    }

    /// The role that a pod ends up with: the target role, if there is one.
    pub fn effective_role_arn(&self) -> &str {
        self.target_role_arn.as_deref().unwrap_or(&self.role_arn)
    }

    /// 6 hours; 59 minutes with a target role; or what [`lifetime`](Self::lifetime) says.
    pub fn credential_lifetime(&self) -> Duration {
        let minutes = if self.target_role_arn.is_some() {
            59
        } else {
            6 * 60
        };
        self.lifetime.unwrap_or(Duration::from_secs(minutes * 60))
    }
}
