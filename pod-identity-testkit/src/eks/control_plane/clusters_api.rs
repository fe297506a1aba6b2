use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pod_identity_core::epoch_seconds;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Operation;
use crate::eks::cluster::Cluster;

/// `ListClusters` and `DescribeCluster`, for the one cluster that there is.
#[derive(Debug)]
pub(crate) struct ClustersApi<'a> {
    pub(crate) cluster: &'a Cluster,
}

impl ClustersApi<'_> {
    pub(crate) fn call(&self, operation: Operation) -> String {
        let answer = match operation {
            Operation::ListClusters => json!({ "clusters": [self.cluster.name] }),
            // What a cluster has besides, it has none of.
            Operation::ListNodegroups => json!({ "nodegroups": [] }),
            Operation::ListFargateProfiles => json!({ "fargateProfileNames": [] }),
            Operation::ListAccessEntries => json!({ "accessEntries": [] }),
            Operation::ListIdentityProviderConfigs => json!({ "identityProviderConfigs": [] }),
            Operation::DescribeClusterVersions => json!({
                "clusterVersions": [{
                    "clusterVersion": VERSION,
                    "clusterType": "eks",
                    "defaultPlatformVersion": PLATFORM,
                    "defaultVersion": true,
                    "status": "standard-support",
                    "versionStatus": "STANDARD_SUPPORT",
                }],
            }),
            _ => json!({ "cluster": self.description() }),
        };
        answer.to_string()
    }

    /// Returns what `aws eks wait cluster-active`, `update-kubeconfig` and Terraform's data source read.
    /// Everything else, such as the network, is that of a new cluster with its defaults.
    fn description(&self) -> Value {
        let cluster = self.cluster;
        let region = &cluster.region;
        let (account, partition) = (cluster.owner().account, cluster.owner().partition);
        let id = cluster.issuer.url().rsplit('/').next().unwrap_or_default();
        let (endpoint, ca) = match &cluster.api_server {
            Some(server) => (server.endpoint.clone(), server.ca_pem.as_str()),
            None => (
                format!("https://{id}.gr7.{region}.eks.amazonaws.com"),
                NO_CA,
            ),
        };
        json!({
            "name": cluster.name,
            "arn": cluster.arn(),
            "createdAt": Epoch(cluster.created_at),
            "version": VERSION,
            "platformVersion": PLATFORM,
            "status": "ACTIVE",
            "endpoint": endpoint,
            "certificateAuthority": { "data": STANDARD.encode(ca) },
            "identity": { "oidc": { "issuer": cluster.issuer.url() } },
            "roleArn": format!("arn:{partition}:iam::{account}:role/{}", cluster.name),
            "resourcesVpcConfig": {
                "vpcId": "vpc-0123456789abcdef0",
                "clusterSecurityGroupId": "sg-0123456789abcdef0",
                "subnetIds": [],
                "securityGroupIds": [],
                "endpointPublicAccess": true,
                "endpointPrivateAccess": false,
                "publicAccessCidrs": ["0.0.0.0/0"],
            },
            "kubernetesNetworkConfig": { "serviceIpv4Cidr": "10.100.0.0/16", "ipFamily": "ipv4" },
            "logging": { "clusterLogging": [] },
            "accessConfig": { "authenticationMode": "API" },
            "upgradePolicy": { "supportType": "EXTENDED" },
            "health": { "issues": [] },
            "tags": {},
        })
    }
}

/// A time as rest-json has it.
#[derive(Debug, Serialize)]
struct Epoch(#[serde(with = "epoch_seconds")] pod_identity_core::Timestamp);

const PLATFORM: &str = "eks.1";
pub(crate) const VERSION: &str = "1.34";
/// Not a certificate, so that no client trusts it.
const NO_CA: &str = "the mock has no API server\n";
