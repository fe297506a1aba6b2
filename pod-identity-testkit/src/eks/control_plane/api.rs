use pod_identity_core::Timestamp;

use crate::eks::cluster::Cluster;
use crate::eks::control_plane::addons_api::AddonsApi;
use crate::eks::control_plane::associations_api::AssociationsApi;
use crate::eks::control_plane::clusters_api::ClustersApi;
use crate::eks::route::Route;
use crate::{ApiError, ApiErrorCode, Operation};

/// Answers a call to the API of EKS with the body of a success.
pub(crate) fn call(
    cluster: &Cluster,
    now: Timestamp,
    route: &Route,
    query: &str,
    body: &[u8],
) -> Result<String, ApiError> {
    if let Some(name) = route.cluster.as_deref().filter(|it| *it != cluster.name) {
        let message = format!("No cluster found for name: {name}.");
        return Err(ApiErrorCode::ResourceNotFound.because(message));
    }
    match route.operation {
        Operation::ListClusters
        | Operation::DescribeCluster
        | Operation::DescribeClusterVersions
        | Operation::ListNodegroups
        | Operation::ListFargateProfiles
        | Operation::ListAccessEntries
        | Operation::ListIdentityProviderConfigs => {
            Ok(ClustersApi { cluster }.call(route.operation))
        }
        Operation::CreateAddon
        | Operation::ListAddons
        | Operation::DescribeAddon
        | Operation::UpdateAddon
        | Operation::DeleteAddon
        | Operation::DescribeAddonVersions
        | Operation::DescribeAddonConfiguration
        | Operation::DescribeUpdate
        | Operation::ListUpdates => AddonsApi { cluster, now }.call(route, query, body),
        _ => AssociationsApi { cluster, now }.call(route, query, body),
    }
}
