use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::Operation;
use crate::eks::asked::{Asked, Dialect};

/// Where a request goes, from what it asks for, its method and its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// The cluster in the path.
    pub(crate) cluster: Option<String>,
    /// The association's id in the path, or the ARN of the tagged resource.
    pub(crate) resource: Option<String>,
}

impl Route {
    pub(crate) fn of(asked: &Asked, method: &Method, uri: &Uri) -> Self {
        // Signed for whatever service: STS itself says that it is the wrong one.
        if asked.dialect == Dialect::Query && asked.action.as_deref() == Some("GetCallerIdentity") {
            return Self::to(Operation::GetCallerIdentity);
        }
        if asked.is_of_another_service() || asked.dialect == Dialect::Json || uri.path() == "/" {
            return Self::to(Operation::Unknown);
        }
        let segments: Vec<String> = segments(uri.path()).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["clusters", cluster, rest @ ..] if !cluster.is_empty() => {
                Self::in_cluster(method, cluster, rest)
            }
            ["clusters"] if method == Method::GET => Self::to(Operation::ListClusters),
            ["cluster-versions"] if method == Method::GET => {
                Self::to(Operation::DescribeClusterVersions)
            }
            [ADDONS, "supported-versions"] if method == Method::GET => {
                Self::to(Operation::DescribeAddonVersions)
            }
            [ADDONS, "configuration-schemas"] if method == Method::GET => {
                Self::to(Operation::DescribeAddonConfiguration)
            }
            ["tags", arn @ ..] if !arn.is_empty() => Self {
                // Some clients leave the slashes of the ARN as they are.
                resource: Some(arn.join("/")),
                ..Self::to(tags(method))
            },
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
            ("GET", ["updates"]) => (Operation::ListUpdates, None),
            ("GET", ["updates", id]) => (Operation::DescribeUpdate, Some(*id)),
            ("GET", ["node-groups"]) => (Operation::ListNodegroups, None),
            ("GET", ["fargate-profiles"]) => (Operation::ListFargateProfiles, None),
            ("GET", ["access-entries"]) => (Operation::ListAccessEntries, None),
            ("GET", ["identity-provider-configs"]) => {
                (Operation::ListIdentityProviderConfigs, None)
            }
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
            (Method::POST, "/", Operation::Unknown, None),
            (
                Method::GET,
                "/clusters/prod/updates/u-1?addonName=vpc-cni",
                Operation::DescribeUpdate,
                Some("u-1"),
            ),
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
            let request = http::Request::builder().method(&method).uri(uri);
            let (head, ()) = request.body(()).unwrap().into_parts();
            let route = Route::of(&Asked::of(&head, b""), &method, &head.uri);
            assert_eq!(
                (route.operation, route.resource.as_deref()),
                (operation, resource),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn what_is_signed_for_another_service_is_not_taken_for_one_of_eks() {
        for (service, uri, body, operation, name) in [
            ("s3", "/clusters/prod", "", Operation::Unknown, "s3:GET"),
            (
                "iam",
                "/",
                "Action=ListRoles",
                Operation::Unknown,
                "iam:ListRoles",
            ),
            (
                "sts",
                "/",
                "Action=AssumeRole",
                Operation::Unknown,
                "sts:AssumeRole",
            ),
            (
                "sts",
                "/",
                "Action=GetCallerIdentity",
                Operation::GetCallerIdentity,
                "sts:GetCallerIdentity",
            ),
            (
                "eks",
                "/clusters/prod",
                "",
                Operation::DescribeCluster,
                "eks:GET",
            ),
        ] {
            let scope = format!("20260301/us-west-2/{service}/aws4_request");
            let signature = format!("AWS4-HMAC-SHA256 Credential=AKIA/{scope}, Signature=x");
            let request = http::Request::builder().uri(uri);
            let request = request.header("authorization", signature).body(()).unwrap();
            let (head, ()) = request.into_parts();
            let asked = Asked::of(&head, body.as_bytes());
            let route = Route::of(&asked, &head.method, &head.uri);
            assert_eq!(route.operation, operation, "{service} {uri}");
            assert_eq!(asked.name("GET"), name);
        }
    }
}
