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

#[cfg(test)]
mod tests {
    use pod_identity_core::{Credentials, Secret, ServiceAccountToken, Timestamp};
    use pod_identity_testkit::Issuer;

    use super::*;

    #[test]
    fn a_session_is_of_a_token_that_names_its_namespace_and_its_service_account() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let token = Issuer::new().token("shop", "cart").mint(now);
        let token = ServiceAccountToken::parse(&token).unwrap();
        let pod = Arc::new(BoundPod::of(token.claims()).unwrap());
        let session = |namespace: &str, service_account: &str| {
            let secret = || Secret::from("s".to_owned());
            let credentials = Credentials::new("key", secret(), secret(), now);
            Session::new(credentials, namespace, service_account)
        };
        for subject in [Subject::from(token.claims()), Subject::Verified(pod)] {
            assert!(subject.is_of(&session("shop", "cart")));
            assert!(!subject.is_of(&session("shop", "till")));
            assert!(!subject.is_of(&session("office", "cart")));
            assert_ne!(subject.claimed().is_some(), subject.verified().is_some());
        }
        assert!(
            !Subject::default().is_of(&session("", "")),
            "no name is not an empty name"
        );
    }
}
