use std::sync::Arc;

use pod_identity_core::{BoundPod, KubernetesName, UnverifiedClaims};

use crate::eks_auth::exchange::Session;

/// The pod that a token is for, for the log and the audit: as the agent has verified it, or as the token
/// claims.
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
    /// Returns whether EKS Auth has issued this session for the service account that the token names.
    pub(crate) fn is_of(&self, session: &Session) -> bool {
        let (namespace, service_account) = match self {
            Self::Verified(pod) => (Some(&pod.namespace), Some(&pod.service_account)),
            Self::Claimed(names) => (names.namespace.as_ref(), names.service_account.as_ref()),
        };
        namespace.is_some_and(|name| session.namespace == name.as_str())
            && service_account.is_some_and(|name| session.service_account == name.as_str())
    }

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
