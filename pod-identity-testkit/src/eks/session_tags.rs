use std::collections::BTreeMap;

use pod_identity_core::UnverifiedClaims;

use crate::eks::cluster::Cluster;

/// "EKS Pod Identity attaches six tags" (EKS user guide), unless the association disables them.
pub(crate) fn session_tags(
    cluster: &Cluster,
    claims: &UnverifiedClaims,
) -> BTreeMap<String, String> {
    let text = |claim: &Option<String>| claim.clone().unwrap_or_default();
    let tags = [
        ("eks-cluster-arn", cluster.arn()),
        ("eks-cluster-name", cluster.name.clone()),
        ("kubernetes-namespace", text(&claims.namespace)),
        ("kubernetes-service-account", text(&claims.service_account)),
        ("kubernetes-pod-name", text(&claims.pod)),
        ("kubernetes-pod-uid", text(&claims.pod_uid)),
    ];
    tags.map(|(key, value)| (key.to_owned(), value)).into()
}
