use crate::Operation;

/// The members that a success of this operation can have, as paths joined by dots. A fault can change them; what
/// is within a list has no path. There are none where the answer is not JSON, or empty.
pub(super) fn members(operation: Operation) -> Vec<String> {
    let (root, children): (&str, &[&str]) = match operation {
        Operation::AssumeRoleForPodIdentity => return owned(&CREDENTIALS),
        Operation::CreatePodIdentityAssociation
        | Operation::DescribePodIdentityAssociation
        | Operation::UpdatePodIdentityAssociation
        | Operation::DeletePodIdentityAssociation => ("association", &ASSOCIATION),
        Operation::ListPodIdentityAssociations => return owned(&["associations", "nextToken"]),
        Operation::ListTagsForResource => ("tags", &[]),
        Operation::CreateAddon | Operation::DescribeAddon | Operation::DeleteAddon => {
            ("addon", &ADDON)
        }
        Operation::UpdateAddon | Operation::DescribeUpdate => ("update", &UPDATE),
        Operation::ListUpdates => ("updateIds", &[]),
        Operation::DescribeAddonConfiguration => return owned(&ADDON_CONFIGURATION),
        Operation::DescribeClusterVersions => ("clusterVersions", &[]),
        Operation::ListNodegroups => ("nodegroups", &[]),
        Operation::ListFargateProfiles => ("fargateProfileNames", &[]),
        Operation::ListAccessEntries => ("accessEntries", &[]),
        Operation::ListIdentityProviderConfigs => ("identityProviderConfigs", &[]),
        Operation::ListAddons | Operation::DescribeAddonVersions => ("addons", &[]),
        Operation::DescribeCluster => ("cluster", &CLUSTER),
        Operation::ListClusters => ("clusters", &[]),
        Operation::OpenIdConfiguration => return owned(&CONFIGURATION),
        Operation::JsonWebKeySet => ("keys", &[]),
        Operation::TagResource
        | Operation::UntagResource
        | Operation::GetCallerIdentity
        | Operation::Unknown
        | Operation::GetVersion
        | Operation::ListPods
        | Operation::WatchPods
        | Operation::GetNode
        | Operation::PatchNode => return Vec::new(),
    };
    let below = children.iter().map(|child| format!("{root}.{child}"));
    std::iter::once(root.to_owned()).chain(below).collect()
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

const CREDENTIALS: [&str; 16] = [
    "assumedRoleUser",
    "assumedRoleUser.arn",
    "assumedRoleUser.assumeRoleId",
    "audience",
    "credentials",
    "credentials.accessKeyId",
    "credentials.expiration",
    "credentials.secretAccessKey",
    "credentials.sessionToken",
    "podIdentityAssociation",
    "podIdentityAssociation.associationArn",
    "podIdentityAssociation.associationId",
    "subject",
    "subject.namespace",
    "subject.serviceAccount",
    "workloadIdentityProviderArn",
];

const ASSOCIATION: [&str; 14] = [
    "associationArn",
    "associationId",
    "clusterName",
    "createdAt",
    "disableSessionTags",
    "externalId",
    "modifiedAt",
    "namespace",
    "ownerArn",
    "policy",
    "roleArn",
    "serviceAccount",
    "tags",
    "targetRoleArn",
];

const ADDON: [&str; 13] = [
    "addonArn",
    "addonName",
    "addonVersion",
    "clusterName",
    "configurationValues",
    "createdAt",
    "health",
    "health.issues",
    "modifiedAt",
    "podIdentityAssociations",
    "serviceAccountRoleArn",
    "status",
    "tags",
];

const ADDON_CONFIGURATION: [&str; 4] = [
    "addonName",
    "addonVersion",
    "configurationSchema",
    "podIdentityConfiguration",
];

const UPDATE: [&str; 6] = ["createdAt", "errors", "id", "params", "status", "type"];

const CLUSTER: [&str; 27] = [
    "accessConfig",
    "accessConfig.authenticationMode",
    "arn",
    "certificateAuthority",
    "certificateAuthority.data",
    "createdAt",
    "endpoint",
    "health",
    "health.issues",
    "identity",
    "identity.oidc",
    "identity.oidc.issuer",
    "kubernetesNetworkConfig",
    "kubernetesNetworkConfig.ipFamily",
    "kubernetesNetworkConfig.serviceIpv4Cidr",
    "logging",
    "logging.clusterLogging",
    "name",
    "platformVersion",
    "resourcesVpcConfig",
    "roleArn",
    "status",
    "tags",
    "upgradePolicy",
    "upgradePolicy.supportType",
    "version",
    "resourcesVpcConfig.endpointPublicAccess",
];

const CONFIGURATION: [&str; 7] = [
    "authorization_endpoint",
    "claims_supported",
    "id_token_signing_alg_values_supported",
    "issuer",
    "jwks_uri",
    "response_types_supported",
    "subject_types_supported",
];
