use crate::{KubernetesName, UnverifiedClaims};

/// The pod that a token is bound to, with the names and UIDs that the token claims.
///
/// Two pods are equal if all names and UIDs are. A pod that was deleted and created again under the same name has
/// another UID, and so has a service account.
///
/// The claims may be forged unless the token has been verified: see [`VerifiedToken`](crate::VerifiedToken).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct BoundPod {
    /// The namespace of pod and service account.
    pub namespace: KubernetesName,
    /// The name of the service account.
    pub service_account: KubernetesName,
    /// The UID of the service account.
    pub service_account_uid: KubernetesName,
    /// The name of the pod.
    pub name: KubernetesName,
    /// The UID of the pod.
    pub uid: KubernetesName,
}

impl BoundPod {
    /// Reads the pod from the claims of a token. Returns `None` if a name or UID is absent, as in a token that is
    /// not bound to a pod, or if `sub` names another service account.
    pub fn of(claims: &UnverifiedClaims) -> Option<Self> {
        let pod = Self {
            namespace: claims.namespace.clone()?,
            service_account: claims.service_account.clone()?,
            service_account_uid: claims.service_account_uid.clone()?,
            name: claims.pod.clone()?,
            uid: claims.pod_uid.clone()?,
        };
        let subject = claims.subject.as_deref()?;
        let names = subject.strip_prefix("system:serviceaccount:")?;
        let named = names.split_once(':')?;
        (named == (&*pod.namespace, &*pod.service_account)).then_some(pod)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::ServiceAccountToken;

    fn pod(claims: &str) -> Option<BoundPod> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.AQ", part(r#"{"alg":"RS256"}"#), part(claims));
        BoundPod::of(ServiceAccountToken::parse(&text).unwrap().claims())
    }

    const CLAIMS: &str = r#"{"exp":2000,"sub":"system:serviceaccount:shop:cart","kubernetes.io":{
        "namespace":"shop","pod":{"name":"cart-0","uid":"u1"},"serviceaccount":{"name":"cart","uid":"u2"}}}"#;

    #[test]
    fn a_pod_is_all_of_its_names_and_uids() {
        let whole = pod(CLAIMS).unwrap();
        assert_eq!((&*whole.name, &*whole.uid), ("cart-0", "u1"));
        for (from, to) in [
            (r#""cart-0","uid":"u1""#, r#""cart-0""#),
            (r#""name":"cart-0","#, ""),
            (r#","uid":"u2""#, ""),
            (r#""namespace":"shop","#, ""),
            (
                "system:serviceaccount:shop:cart",
                "system:serviceaccount:shop:till",
            ),
            ("system:serviceaccount:shop:cart", "cart"),
            ("u1", "U 1"),
        ] {
            let odd = CLAIMS.replace(from, to);
            assert_ne!(odd, CLAIMS);
            assert_eq!(pod(&odd), None, "{odd}");
        }
    }

    #[cfg(feature = "digest")]
    #[test]
    fn another_name_or_uid_is_another_key() {
        use crate::PodDigest;

        let whole = pod(CLAIMS).unwrap();
        assert_eq!(PodDigest::of(&whole), PodDigest::of(&whole.clone()));
        for (from, to) in [
            ("u1", "u3"),
            ("u2", "u3"),
            ("cart-0", "cart-1"),
            ("shop", "food"),
        ] {
            let other = pod(&CLAIMS.replace(from, to)).unwrap();
            assert_ne!(PodDigest::of(&whole), PodDigest::of(&other), "{from}");
        }
    }
}
