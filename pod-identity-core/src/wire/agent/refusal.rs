use std::fmt;

use http::header::{ALLOW, HeaderValue};
use http::{Response, StatusCode};

use crate::wire::{eks_auth, plain_text};
use crate::{ClaimError, TokenError};

/// An answer of the official agent that is not a set of credentials.
///
/// [`Display`](fmt::Display) writes the message, [`status`](Self::status) returns the HTTP status, and
/// [`to_response`](Self::to_response) the whole answer. Source: aws/eks-pod-identity-agent v0.1.37.
///
/// ```
/// use pod_identity_core::TokenError;
/// use pod_identity_core::wire::agent::Refusal;
///
/// let response = Refusal::Token(TokenError::Empty).to_response();
/// assert_eq!(response.status(), 400);
/// assert_eq!(response.body(), "Service account token cannot be empty\n");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// 404: the path is not [`PATH`](super::PATH). The probes of other software rely on this status.
    NotFound,
    /// 405: the method is not `GET`.
    MethodNotAllowed,
    /// 403: the `Host` header names a host that is not one of the [`AllowedHosts`](super::AllowedHosts).
    HostNotAllowed {
        /// The host as sent, without port and brackets.
        host: String,
    },
    /// 429: more than 1000 requests per second, the official agent's own limit. Some SDKs do not retry it.
    TooManyRequests,
    /// 400: the token is empty or cannot be parsed.
    Token(TokenError),
    /// 400: the claims of the token are not valid at this time or for this agent.
    Claims(ClaimError),
    /// 500: the credentials have expired, or expire within 15 s.
    Expiring {
        /// Milliseconds until the expiration; negative if it has passed.
        millis_left: i64,
    },
    /// EKS Auth refused. Its status and message are passed on.
    EksAuth(eks_auth::ErrorResponse),
}

impl Refusal {
    /// Returns the HTTP status. It is 500 if EKS Auth's is not a valid one.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HostNotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Token(_) | Self::Claims(_) => StatusCode::BAD_REQUEST,
            Self::Expiring { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::EksAuth(error) => {
                StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Returns the whole answer, which is [plain text](plain_text). For a method that is not allowed, it has the
    /// header `Allow: GET`.
    pub fn to_response(&self) -> Response<String> {
        let mut response = plain_text(self.status(), self);
        if matches!(self, Self::MethodNotAllowed) {
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("404 page not found"),
            Self::MethodNotAllowed => f.write_str("Method Not Allowed"),
            Self::HostNotAllowed { host } => write!(
                f,
                "Access Denied. Called agent through invalid address, please use either \
                 [169.254.170.23 fd00:ec2::23] address not {host}"
            ),
            Self::TooManyRequests => f.write_str("Too Many Requests"),
            Self::Token(TokenError::Empty) => f.write_str("Service account token cannot be empty"),
            Self::Token(error) => write!(f, "Service account token cannot be parsed: {error}"),
            Self::Claims(error) => {
                write!(
                    f,
                    "Service account token failed basic claim validations: {error}"
                )
            }
            Self::Expiring { millis_left } => write!(
                f,
                "fetched credentials are expired or will expire within the next {:.2} seconds",
                *millis_left as f64 / 1000.0
            ),
            Self::EksAuth(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<ClaimError> for Refusal {
    fn from(error: ClaimError) -> Self {
        Self::Claims(error)
    }
}

impl From<eks_auth::ErrorResponse> for Refusal {
    fn from(error: eks_auth::ErrorResponse) -> Self {
        Self::EksAuth(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::agent::ErrorResponse;

    #[test]
    fn status_and_message_are_the_official_agents() {
        let eks_auth = |status, request_id: Option<&str>| {
            Refusal::EksAuth(eks_auth::ErrorResponse {
                status,
                code: "AccessDeniedException".to_owned(),
                message: "no".to_owned(),
                request_id: request_id.map(str::to_owned),
            })
        };
        let host = "localhost".to_owned();
        for (refusal, status, message) in [
            (Refusal::NotFound, 404, "404 page not found"),
            (Refusal::MethodNotAllowed, 405, "Method Not Allowed"),
            (
                Refusal::HostNotAllowed { host },
                403,
                "Access Denied. Called agent through invalid address, please use either \
                 [169.254.170.23 fd00:ec2::23] address not localhost",
            ),
            (Refusal::TooManyRequests, 429, "Too Many Requests"),
            (
                TokenError::Empty.into(),
                400,
                "Service account token cannot be empty",
            ),
            (
                TokenError::Segments.into(),
                400,
                "Service account token cannot be parsed: token is malformed: token contains an \
                 invalid number of segments",
            ),
            (
                ClaimError::Expired.into(),
                400,
                "Service account token failed basic claim validations: token is expired",
            ),
            (
                Refusal::Expiring {
                    millis_left: 10_000,
                },
                500,
                "fetched credentials are expired or will expire within the next 10.00 seconds",
            ),
            (
                eks_auth(400, Some("1b2c")),
                400,
                "[1b2c]: (AccessDeniedException): no, fault: client",
            ),
            (
                eks_auth(503, None),
                503,
                "[]: (AccessDeniedException): no, fault: server",
            ),
            (
                eks_auth(7, None),
                500,
                "[]: (AccessDeniedException): no, fault: client",
            ),
        ] {
            let response = refusal.to_response();
            assert_eq!(response.status(), status, "{refusal}");
            assert_eq!(*response.body(), format!("{message}\n"));
            assert_eq!(
                response.headers().get(ALLOW).is_some(),
                refusal == Refusal::MethodNotAllowed
            );
        }
    }

    #[test]
    fn a_client_reads_the_code_that_the_agent_wrote() {
        let refusal = Refusal::EksAuth(eks_auth::ErrorResponse {
            status: 404,
            code: "ResourceNotFoundException".to_owned(),
            message: "no association".to_owned(),
            request_id: Some("1b2c".to_owned()),
        });
        let written = refusal.to_response();
        let read = ErrorResponse::read(written.status().as_u16(), written.body().as_bytes(), None);
        assert_eq!(read.status, 404);
        assert_eq!(read.code.as_deref(), Some("ResourceNotFoundException"));
        assert_eq!(read.message, refusal.to_string());
    }
}
