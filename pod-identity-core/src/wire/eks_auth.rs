//! `AssumeRoleForPodIdentity` of EKS Auth: rest-json over
//! `POST /clusters/{clusterName}/assume-role-for-pod-identity`.
//!
//! The shapes follow the public service model (botocore 1.44.5).

use serde::{Deserialize, Serialize};

use crate::timestamp::epoch_seconds;
use crate::{FailureClass, Secret, Timestamp};

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AssumeRoleRequest {
    /// The projected service-account token.
    pub token: Secret,
    /// The node's name; in the model since 2026-08.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eks_node_name: Option<String>,
    /// The node's EC2 instance id; in the model since 2026-08.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The id of the node's Availability Zone, such as `usw2-az1`; in the model since 2026-08.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl AssumeRoleRequest {
    /// Creates a request without information about the node.
    pub fn new(token: Secret) -> Self {
        Self {
            token,
            eks_node_name: None,
            instance_id: None,
            zone: None,
        }
    }
}

/// The body of a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRoleResponse {
    /// The service account that the token belongs to.
    pub subject: Subject,
    /// The audience of the token.
    pub audience: String,
    /// The association that names the role.
    pub pod_identity_association: AssociationRef,
    /// The session of the role.
    pub assumed_role_user: AssumedRoleUser,
    /// The credentials of that session.
    pub credentials: SessionCredentials,
    /// In the model since 2026-08.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity_provider_arn: Option<String>,
}

/// The service account of a verified token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
}

/// An association, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationRef {
    /// `arn:aws:eks:{region}:{account}:podidentityassociation/{cluster}/{id}`.
    pub association_arn: String,
    /// `a-` and 17 letters or digits.
    pub association_id: String,
}

/// The session of an assumed role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumedRoleUser {
    /// `arn:aws:sts::{account}:assumed-role/{role}/{session}`.
    pub arn: String,
    /// The role's id, a colon, and the session's name.
    pub assume_role_id: String,
}

/// The credentials in a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCredentials {
    /// The session token.
    pub session_token: Secret,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The access key id.
    pub access_key_id: String,
    /// When they expire; epoch seconds on the wire.
    #[serde(with = "epoch_seconds")]
    pub expiration: Timestamp,
}

/// The error codes of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// EKS may not assume the role, or the caller may not call.
    AccessDenied,
    /// The token, or the caller's own credentials, have expired.
    ExpiredToken,
    /// The service failed.
    InternalServer,
    /// A parameter is wrong.
    InvalidParameter,
    /// The request is wrong.
    InvalidRequest,
    /// The token is wrong.
    InvalidToken,
    /// No such cluster, or no association for the token's service account.
    ResourceNotFound,
    /// The service is unavailable.
    ServiceUnavailable,
    /// Too many requests.
    Throttling,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 9] = [
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::InternalServer,
        Self::InvalidParameter,
        Self::InvalidRequest,
        Self::InvalidToken,
        Self::ResourceNotFound,
        Self::ServiceUnavailable,
        Self::Throttling,
    ];

    /// Returns the name on the wire, with its suffix, such as `AccessDeniedException`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::InternalServer => "InternalServerException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::InvalidRequest => "InvalidRequestException",
            Self::InvalidToken => "InvalidTokenException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::Throttling => "ThrottlingException",
        }
    }

    /// Returns the HTTP status that the service sends with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::AccessDenied
            | Self::ExpiredToken
            | Self::InvalidParameter
            | Self::InvalidRequest
            | Self::InvalidToken => 400,
            Self::ResourceNotFound => 404,
            Self::Throttling => 429,
            Self::InternalServer => 500,
            Self::ServiceUnavailable => 503,
        }
    }

    /// Returns the code with this name. The suffix `Exception` is optional, and a `:uri` after the name is ignored.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.split(':').next().unwrap_or(name);
        Self::ALL
            .into_iter()
            .find(|code| code.name() == name || code.name().strip_suffix("Exception") == Some(name))
    }

    /// Returns the class of a failure with this code.
    pub fn class(self) -> FailureClass {
        FailureClass::of(self.status(), Some(self.name()))
    }
}

/// The body of an error. The code is in the header [`ErrorBody::CODE_HEADER`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The service's message.
    pub message: String,
}

impl ErrorBody {
    /// The header with the code.
    pub const CODE_HEADER: &str = "x-amzn-ErrorType";
    /// The header with the request id, which every answer has.
    pub const REQUEST_ID_HEADER: &str = "x-amzn-RequestId";
    /// The header with the time to wait, in milliseconds.
    pub const RETRY_AFTER_HEADER: &str = "x-amz-retry-after";
}

/// An error answer of EKS Auth, read from its status, headers and body.
///
/// [`Display`](std::fmt::Display) is the text in which the official agent passes it on:
/// `[request id]: (Code): message, fault: client`, or `server` for a status from 500 on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[{}]: ({code}): {message}, fault: {}",
    request_id.as_deref().unwrap_or_default(),
    if *status < 500 { "client" } else { "server" }
)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The code, such as `AccessDeniedException`.
    pub code: String,
    /// The service's message. Whoever reads it from the network replaces the token in it.
    pub message: String,
    /// The request id, which AWS support asks for.
    pub request_id: Option<String>,
}

impl ErrorResponse {
    /// What the answer means for the next attempt.
    pub fn class(&self) -> FailureClass {
        FailureClass::of(self.status, Some(&self.code))
    }
}

/// The path of the operation for a cluster.
pub fn path(cluster: &str) -> String {
    format!("/clusters/{cluster}/assume-role-for-pod-identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_goes_both_ways_with_an_epoch_expiry() {
        let json = concat!(
            r#"{"subject":{"namespace":"shop","serviceAccount":"cart"},"audience":"pods.eks.amazonaws.com","#,
            r#""podIdentityAssociation":{"associationArn":"arn:a","associationId":"a-1"},"#,
            r#""assumedRoleUser":{"arn":"arn:b","assumeRoleId":"AROA:s"},"#,
            r#""credentials":{"sessionToken":"t","secretAccessKey":"s","accessKeyId":"ASIA","expiration":1772366400}}"#
        );
        let response: AssumeRoleResponse = serde_json::from_str(json).unwrap();
        assert_eq!(
            response.credentials.expiration,
            Timestamp::from_unix_secs(1_772_366_400)
        );
        assert_eq!(serde_json::to_string(&response).unwrap(), json);
        assert!(!format!("{response:?}").contains("\"t\""));
    }

    #[test]
    fn the_path_names_the_cluster() {
        assert_eq!(path("shop"), "/clusters/shop/assume-role-for-pod-identity");
    }

    #[test]
    fn a_request_leaves_out_what_it_does_not_know() {
        let mut request = AssumeRoleRequest::new(Secret::from("a.b.c".to_owned()));
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"token":"a.b.c"}"#
        );
        request.zone = Some("us-west-2a".into());
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"token":"a.b.c","zone":"us-west-2a"}"#);
        assert_eq!(
            serde_json::from_str::<AssumeRoleRequest>(&json).unwrap(),
            request
        );
    }

    #[test]
    fn every_error_code_is_found_by_its_names() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.name()), Some(code));
            let with_uri = format!("{}:http://internal.amazon.com/coral/", code.name());
            assert_eq!(ErrorCode::from_name(&with_uri), Some(code));
        }
        assert_eq!(
            ErrorCode::from_name("AccessDenied"),
            Some(ErrorCode::AccessDenied)
        );
        assert_eq!(ErrorCode::from_name("Other"), None);
        let gone = [ErrorCode::InvalidToken, ErrorCode::ResourceNotFound];
        for code in ErrorCode::ALL {
            assert_eq!(
                code.class() == FailureClass::Gone,
                gone.contains(&code),
                "{code:?}"
            );
        }
    }
}
