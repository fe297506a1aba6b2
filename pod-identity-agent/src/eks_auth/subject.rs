use std::sync::Arc;

use pod_identity_core::{BoundPod, KubernetesName, UnverifiedClaims};

/// The pod that a token is for, for the log and the audit: as the agent has verified it, or as the token
/// claims.
///
/// It is kept beside the token, because every exchange logs it.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    Verified(Arc<BoundPod>),
    /// Nobody has verified it.
    Claimed(ClaimedNames),
}

/// The names that a token claims for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClaimedNames {
    pub(crate) namespace: Option<KubernetesName>,
    pub(crate) service_account: Option<KubernetesName>,
    pub(crate) pod: Option<KubernetesName>,
}

impl Subject {
    pub(crate) fn verified(&self) -> Option<&BoundPod> {
        match self {
            Self::Verified(pod) => Some(pod),
            Self::Claimed(_) => None,
        }
    }

    pub(crate) fn claimed(&self) -> Option<&ClaimedNames> {
        match self {
            Self::Verified(_) => None,
            Self::Claimed(names) => Some(names),
        }
    }
}

impl Default for Subject {
    fn default() -> Self {
        Self::Claimed(ClaimedNames::default())
    }
}

impl From<&UnverifiedClaims> for Subject {
    fn from(claims: &UnverifiedClaims) -> Self {
        Self::Claimed(ClaimedNames {
            namespace: claims.namespace.clone(),
            service_account: claims.service_account.clone(),
            pod: claims.pod.clone(),
        })
    }
}
