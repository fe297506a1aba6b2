use pod_identity_core::Timestamp;

use crate::eks::addon::Addons;
use crate::eks::associations::rules::Owner;
use crate::eks::associations::store::Associations;
use crate::eks::expiries::Expiries;
use crate::eks::iam::roles::Roles;
use crate::eks::partition::partition;
use crate::{Association, Issuer};

/// The state of a cluster and its resource names.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) issuer: Issuer,
    pub(crate) created_at: Timestamp,
    /// Where `kubectl` finds the cluster, if there is one.
    pub(crate) api_server: Option<ApiServer>,
    pub(crate) workload_identity_provider_arn: Option<String>,
    pub(crate) associations: Associations,
    pub(crate) addons: Addons,
    pub(crate) roles: Roles,
    pub(crate) expiries: Expiries,
}

/// The API server of a real cluster.
#[derive(Debug, Clone)]
pub(crate) struct ApiServer {
    pub(crate) endpoint: String,
    pub(crate) ca_pem: String,
}

impl Cluster {
    /// Returns the partition and account that the ARNs of roles must have.
    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner {
            partition: partition(&self.region),
            account: &self.account,
        }
    }

    /// `arn:aws:eks:{region}:{account}:cluster/{name}`.
    pub(crate) fn arn(&self) -> String {
        self.arn_of("cluster")
    }

    pub(crate) fn addon_arn(&self, name: &str, id: &str) -> String {
        format!("{}/{name}/{id}", self.arn_of("addon"))
    }

    pub(crate) fn association_arn(&self, id: &str) -> String {
        format!("{}/{id}", self.arn_of("podidentityassociation"))
    }

    /// Returns the external id, which a target role's trust policy can require in `sts:ExternalId`.
    pub(crate) fn external_id(&self, association: &Association) -> String {
        format!(
            "{}/{}/{}/{}/{}",
            self.region,
            self.account,
            self.name,
            association.namespace(),
            association.service_account()
        )
    }

    fn arn_of(&self, kind: &str) -> String {
        let (region, account) = (&self.region, &self.account);
        let partition = partition(region);
        format!(
            "arn:{partition}:eks:{region}:{account}:{kind}/{}",
            self.name
        )
    }
}
