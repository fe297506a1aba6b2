use pod_identity_core::{KubernetesName, UnverifiedClaims};

/// The names that a token claims for itself, for the log and the audit. Nobody has verified them.
///
/// They are read when the token is parsed and kept beside it, because every exchange logs them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClaimedNames {
    pub(crate) namespace: Option<KubernetesName>,
    pub(crate) service_account: Option<KubernetesName>,
    pub(crate) pod: Option<KubernetesName>,
}

impl From<&UnverifiedClaims> for ClaimedNames {
    fn from(claims: &UnverifiedClaims) -> Self {
        Self {
            namespace: claims.namespace.clone(),
            service_account: claims.service_account.clone(),
            pod: claims.pod.clone(),
        }
    }
}
