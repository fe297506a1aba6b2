use std::collections::BTreeMap;
use std::sync::Mutex;

use pod_identity_core::{Secret, Timestamp};

use crate::sync::lock;

/// A session for which EKS Auth has minted credentials, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The access key id of its credentials.
    pub access_key_id: String,
    /// The role that the pod has: the target role, if the association has one.
    pub role_arn: String,
    /// `arn:aws:sts::{account}:assumed-role/{role}/{session}`, as `GetCallerIdentity` returns it.
    pub arn: String,
    /// The role's id, a colon, and the session's name.
    pub assumed_role_id: String,
    /// The association of the service account.
    pub association_id: String,
    /// When its credentials expire.
    pub expiration: Timestamp,
    /// Its tags, all of them transitive; none if the association disables them.
    pub tags: BTreeMap<String, String>,
    /// The session policy of the association.
    pub policy: Option<String>,
}

impl Session {
    /// Returns the account of the role.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

/// Every session, by its access key id.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<String, Minted>>);

/// A session with its secrets.
#[derive(Debug, Clone)]
pub(crate) struct Minted {
    pub(crate) session: Session,
    pub(crate) secret_access_key: Secret,
    pub(crate) session_token: Secret,
}

impl Sessions {
    pub(crate) fn put(&self, minted: Minted) {
        let key = minted.session.access_key_id.clone();
        lock(&self.0).insert(key, minted);
    }

    pub(crate) fn get(&self, access_key_id: &str) -> Option<Minted> {
        lock(&self.0).get(access_key_id).cloned()
    }
}
