use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::error::FaultError;

/// The operation that a request asks a mock for: one of EKS Auth, EKS, STS, the issuer or an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// EKS Auth: exchanges a token for credentials.
    AssumeRoleForPodIdentity,
    /// EKS: creates an association.
    CreatePodIdentityAssociation,
    /// EKS: lists the associations of the cluster, page by page.
    ListPodIdentityAssociations,
    /// EKS: describes an association.
    DescribePodIdentityAssociation,
    /// EKS: changes role, target role, policy, or session tags of an association.
    UpdatePodIdentityAssociation,
    /// EKS: deletes an association.
    DeletePodIdentityAssociation,
    /// EKS: lists the tags of an association.
    ListTagsForResource,
    /// EKS: adds tags to an association.
    TagResource,
    /// EKS: removes tags from an association.
    UntagResource,
    /// EKS: creates an add-on, with its associations if it has any.
    CreateAddon,
    /// EKS: lists the names of the add-ons.
    ListAddons,
    /// EKS: describes an add-on.
    DescribeAddon,
    /// EKS: changes version, configuration or associations of an add-on.
    UpdateAddon,
    /// EKS: deletes an add-on and its associations.
    DeleteAddon,
    /// EKS: what an add-on can be configured with, and the service accounts that it has.
    DescribeAddonConfiguration,
    /// EKS: an update of an add-on.
    DescribeUpdate,
    /// EKS: the updates of an add-on.
    ListUpdates,
    /// EKS: the versions of Kubernetes.
    DescribeClusterVersions,
    /// EKS: the node groups, of which there are none.
    ListNodegroups,
    /// EKS: the Fargate profiles, of which there are none.
    ListFargateProfiles,
    /// EKS: the access entries, of which there are none.
    ListAccessEntries,
    /// EKS: the identity providers, of which there are none.
    ListIdentityProviderConfigs,
    /// EKS: the versions of add-ons.
    DescribeAddonVersions,
    /// EKS: describes the cluster.
    DescribeCluster,
    /// EKS: lists the names of the clusters, of which there is one.
    ListClusters,
    /// STS: the only action that the mock has.
    GetCallerIdentity,
    /// OIDC: the issuer's configuration document.
    OpenIdConfiguration,
    /// OIDC: the issuer's keys.
    JsonWebKeySet,
    /// Kubernetes: the version of the API server.
    GetVersion,
    /// Kubernetes: the pods of the cluster or of a namespace.
    ListPods,
    /// Kubernetes: the same as they change.
    WatchPods,
    /// Kubernetes: one node.
    GetNode,
    /// Kubernetes: a change of a node.
    PatchNode,
    /// Any other request.
    Unknown,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::AssumeRoleForPodIdentity,
        Self::CreatePodIdentityAssociation,
        Self::ListPodIdentityAssociations,
        Self::DescribePodIdentityAssociation,
        Self::UpdatePodIdentityAssociation,
        Self::DeletePodIdentityAssociation,
        Self::ListTagsForResource,
        Self::TagResource,
        Self::UntagResource,
        Self::CreateAddon,
        Self::ListAddons,
        Self::DescribeAddon,
        Self::UpdateAddon,
        Self::DeleteAddon,
        Self::DescribeAddonVersions,
        Self::DescribeAddonConfiguration,
        Self::DescribeUpdate,
        Self::ListUpdates,
        Self::DescribeClusterVersions,
        Self::ListNodegroups,
        Self::ListFargateProfiles,
        Self::ListAccessEntries,
        Self::ListIdentityProviderConfigs,
        Self::DescribeCluster,
        Self::ListClusters,
        Self::GetCallerIdentity,
        Self::OpenIdConfiguration,
        Self::JsonWebKeySet,
        Self::GetVersion,
        Self::ListPods,
        Self::WatchPods,
        Self::GetNode,
        Self::PatchNode,
        Self::Unknown,
    ];

    /// Returns its name; for an operation of AWS the one in the service's model, such as
    /// `CreatePodIdentityAssociation`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AssumeRoleForPodIdentity => "AssumeRoleForPodIdentity",
            Self::CreatePodIdentityAssociation => "CreatePodIdentityAssociation",
            Self::ListPodIdentityAssociations => "ListPodIdentityAssociations",
            Self::DescribePodIdentityAssociation => "DescribePodIdentityAssociation",
            Self::UpdatePodIdentityAssociation => "UpdatePodIdentityAssociation",
            Self::DeletePodIdentityAssociation => "DeletePodIdentityAssociation",
            Self::ListTagsForResource => "ListTagsForResource",
            Self::TagResource => "TagResource",
            Self::UntagResource => "UntagResource",
            Self::CreateAddon => "CreateAddon",
            Self::ListAddons => "ListAddons",
            Self::DescribeAddon => "DescribeAddon",
            Self::UpdateAddon => "UpdateAddon",
            Self::DeleteAddon => "DeleteAddon",
            Self::DescribeAddonVersions => "DescribeAddonVersions",
            Self::DescribeAddonConfiguration => "DescribeAddonConfiguration",
            Self::DescribeUpdate => "DescribeUpdate",
            Self::ListUpdates => "ListUpdates",
            Self::DescribeClusterVersions => "DescribeClusterVersions",
            Self::ListNodegroups => "ListNodegroups",
            Self::ListFargateProfiles => "ListFargateProfiles",
            Self::ListAccessEntries => "ListAccessEntries",
            Self::ListIdentityProviderConfigs => "ListIdentityProviderConfigs",
            Self::DescribeCluster => "DescribeCluster",
            Self::ListClusters => "ListClusters",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::OpenIdConfiguration => "OpenIdConfiguration",
            Self::JsonWebKeySet => "JsonWebKeySet",
            Self::GetVersion => "GetVersion",
            Self::ListPods => "ListPods",
            Self::WatchPods => "WatchPods",
            Self::GetNode => "GetNode",
            Self::PatchNode => "PatchNode",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether only an API server of Kubernetes has it.
    pub(crate) const fn is_of_api_server_only(self) -> bool {
        matches!(
            self,
            Self::GetVersion | Self::ListPods | Self::WatchPods | Self::GetNode | Self::PatchNode
        )
    }

    /// Whether an API server of Kubernetes has it.
    #[cfg(feature = "api-server")]
    pub(crate) const fn is_of_api_server(self) -> bool {
        self.is_of_api_server_only()
            || matches!(
                self,
                Self::OpenIdConfiguration | Self::JsonWebKeySet | Self::Unknown
            )
    }

    /// Returns the operation of this [name](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            D::Error::custom(FaultError::Operation { name, known })
        })
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
