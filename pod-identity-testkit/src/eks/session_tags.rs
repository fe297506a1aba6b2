use std::collections::BTreeMap;

use pod_identity_core::{KubernetesName, UnverifiedClaims};

/// Returns the six tags of a session, unless its association disables them.
///
/// "EKS Pod Identity attaches six tags" (EKS user guide).
pub(crate) fn session_tags(
    cluster_arn: String,
    cluster_name: String,
    claims: &UnverifiedClaims,
) -> BTreeMap<String, String> {
    let text = |claim: &Option<KubernetesName>| claim.as_deref().unwrap_or_default().to_owned();
    let tags = [
        ("eks-cluster-arn", cluster_arn),
        ("eks-cluster-name", cluster_name),
        ("kubernetes-namespace", text(&claims.namespace)),
        ("kubernetes-service-account", text(&claims.service_account)),
        ("kubernetes-pod-name", text(&claims.pod)),
        ("kubernetes-pod-uid", text(&claims.pod_uid)),
    ];
    tags.map(|(key, value)| (key.to_owned(), value)).into()
}
