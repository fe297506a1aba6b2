use pod_identity_core::Timestamp;

use crate::Association;
use crate::token::ids::association_id;

/// Namespace and service account.
pub(crate) type Key = (String, String);

/// An association as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Associated {
    pub(crate) id: String,
    pub(crate) association: Association,
    pub(crate) created_at: Timestamp,
    pub(crate) modified_at: Timestamp,
}

impl Associated {
    pub(crate) fn new(association: Association, now: Timestamp) -> Self {
        Self {
            id: association_id(&mut fastrand::Rng::new()),
            association,
            created_at: now,
            modified_at: now,
        }
    }

    pub(crate) fn key(&self) -> Key {
        let association = &self.association;
        (
            association.namespace.clone(),
            association.service_account.clone(),
        )
    }
}
