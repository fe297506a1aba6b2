use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::Operation;

/// The operation that a request's method and path select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// The cluster in the path.
    pub(crate) cluster: Option<String>,
    /// The association's id in the path, or the ARN of the tagged resource.
    pub(crate) resource: Option<String>,
}

impl Route {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let segments: Vec<String> = segments(uri.path()).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["clusters", cluster, rest @ ..] if !cluster.is_empty() => {
                Self::in_cluster(method, cluster, rest)
            }
            ["clusters"] if method == Method::GET => Self::to(Operation::ListClusters),
            [ADDONS, "supported-versions"] if method == Method::GET => {
                Self::to(Operation::DescribeAddonVersions)
            }
            ["tags", arn @ ..] if !arn.is_empty() => Self {
                // Some clients leave the slashes of the ARN as they are.
                resource: Some(arn.join("/")),
                ..Self::to(tags(method))
            },
            [""] if matches!(*method, Method::GET | Method::POST) => {
                Self::to(Operation::GetCallerIdentity)
            }
            path if method == Method::GET => Self::to(discovery(path)),
            _ => Self::to(Operation::Unknown),
        }
    }

    fn in_cluster(method: &Method, cluster: &str, rest: &[&str]) -> Self {
        let (operation, resource) = match (method.as_str(), rest) {
            ("POST", ["assume-role-for-pod-identity"]) => {
                (Operation::AssumeRoleForPodIdentity, None)
            }
            ("POST", [ASSOCIATIONS]) => (Operation::CreatePodIdentityAssociation, None),
            ("GET", [ASSOCIATIONS]) => (Operation::ListPodIdentityAssociations, None),
            ("GET", [ASSOCIATIONS, id]) => (Operation::DescribePodIdentityAssociation, Some(*id)),
            ("POST", [ASSOCIATIONS, id]) => (Operation::UpdatePodIdentityAssociation, Some(*id)),
            ("GET", []) => (Operation::DescribeCluster, None),
            ("POST", [ADDONS]) => (Operation::CreateAddon, None),
            ("GET", [ADDONS]) => (Operation::ListAddons, None),
            ("GET", [ADDONS, name]) => (Operation::DescribeAddon, Some(*name)),
            ("POST", [ADDONS, name, "update"]) => (Operation::UpdateAddon, Some(*name)),
            ("DELETE", [ADDONS, name]) => (Operation::DeleteAddon, Some(*name)),
            ("DELETE", [ASSOCIATIONS, id]) => (Operation::DeletePodIdentityAssociation, Some(*id)),
            _ => (Operation::Unknown, None),
        };
        Self {
            operation,
            cluster: Some(cluster.to_owned()),
            resource: resource.map(str::to_owned),
        }
    }

    fn to(operation: Operation) -> Self {
        Self {
            operation,
            cluster: None,
            resource: None,
        }
    }
}

fn tags(method: &Method) -> Operation {
    match *method {
        Method::GET => Operation::ListTagsForResource,
        Method::POST => Operation::TagResource,
        Method::DELETE => Operation::UntagResource,
        _ => Operation::Unknown,
    }
}

/// With and without the `/id/{id}` of EKS's issuers, and the path that an API server has for its keys.
fn discovery(path: &[&str]) -> Operation {
    match path {
        [".well-known", "openid-configuration"]
        | ["id", _, ".well-known", "openid-configuration"] => Operation::OpenIdConfiguration,
        ["keys"] | ["id", _, "keys"] | ["openid", "v1", "jwks"] => Operation::JsonWebKeySet,
        _ => Operation::Unknown,
    }
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
}

const ADDONS: &str = "addons";
const ASSOCIATIONS: &str = "pod-identity-associations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_select_the_operation() {
        let associations = "/clusters/prod/pod-identity-associations";
        let one = "/clusters/prod/pod-identity-associations/a-1?x=y";
        for (method, uri, operation, resource) in [
            (
                Method::POST,
                "/clusters/prod/assume-role-for-pod-identity",
                Operation::AssumeRoleForPodIdentity,
                None,
            ),
            (
                Method::GET,
                "/clusters/prod/assume-role-for-pod-identity",
                Operation::Unknown,
                None,
            ),
            (
                Method::POST,
                associations,
                Operation::CreatePodIdentityAssociation,
                None,
            ),
            (
                Method::GET,
                associations,
                Operation::ListPodIdentityAssociations,
                None,
            ),
            (Method::PUT, associations, Operation::Unknown, None),
            (
                Method::GET,
                one,
                Operation::DescribePodIdentityAssociation,
                Some("a-1"),
            ),
            (
                Method::POST,
                one,
                Operation::UpdatePodIdentityAssociation,
                Some("a-1"),
            ),
            (
                Method::DELETE,
                one,
                Operation::DeletePodIdentityAssociation,
                Some("a-1"),
            ),
            (
                Method::GET,
                "/tags/arn%3Aaws%2Fx",
                Operation::ListTagsForResource,
                Some("arn:aws/x"),
            ),
            (
                Method::DELETE,
                "/tags/arn:aws/x?tagKeys=a",
                Operation::UntagResource,
                Some("arn:aws/x"),
            ),
            (Method::POST, "/", Operation::GetCallerIdentity, None),
            (
                Method::GET,
                "/?Action=GetCallerIdentity",
                Operation::GetCallerIdentity,
                None,
            ),
            (
                Method::GET,
                "/id/X/.well-known/openid-configuration",
                Operation::OpenIdConfiguration,
                None,
            ),
            (Method::GET, "/keys", Operation::JsonWebKeySet, None),
            (
                Method::GET,
                "/clusters//pod-identity-associations",
                Operation::Unknown,
                None,
            ),
        ] {
            let route = Route::of(&method, &Uri::from_static(uri));
            assert_eq!(
                (route.operation, route.resource.as_deref()),
                (operation, resource),
                "{method} {uri}"
            );
        }
    }
}
