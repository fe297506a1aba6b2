use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::ids::association_id;
use crate::sync::lock;

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
    namespace: String,
    service_account: String,
    role_arn: String,
    target_role_arn: Option<String>,
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
            lifetime: None,
        }
    }

    /// The role that the first role assumes in turn: the pod gets this one, for 59 minutes.
    pub fn target_role_arn(mut self, role_arn: impl Into<String>) -> Self {
        self.target_role_arn = Some(role_arn.into());
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

/// The associations of one cluster; one per service account, as in the real service.
#[derive(Debug, Default)]
pub(crate) struct Associations(Mutex<BTreeMap<Key, Associated>>);

type Key = (String, String);

/// An association and its id.
#[derive(Debug, Clone)]
pub(crate) struct Associated {
    pub(crate) id: String,
    pub(crate) association: Association,
}

impl Associations {
    /// Adds an association in place of any other of the same service account. Returns its new id.
    pub(crate) fn put(&self, association: Association) -> String {
        let id = association_id(&mut fastrand::Rng::new());
        let key = (
            association.namespace.clone(),
            association.service_account.clone(),
        );
        let associated = Associated {
            id: id.clone(),
            association,
        };
        lock(&self.0).insert(key, associated);
        id
    }

    /// Whether there was one with this id.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut all = lock(&self.0);
        let before = all.len();
        all.retain(|_, associated| associated.id != id);
        all.len() < before
    }

    pub(crate) fn of(&self, namespace: &str, service_account: &str) -> Option<Associated> {
        let key = (namespace.to_owned(), service_account.to_owned());
        lock(&self.0).get(&key).cloned()
    }
}
