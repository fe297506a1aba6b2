use http::StatusCode;
use http::header::{ALLOW, HeaderValue};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{ClaimError, TokenError};

use crate::ServiceError;
use crate::agent::answer::{AgentAnswer, text};
use crate::token::ids;

/// Every answer of the official agent that is not a set of credentials.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Any other path.
    NotFound,
    Method,
    /// The host that was sent, without brackets and port.
    Host(String),
    /// The agent's own limiter.
    Limited,
    Token(TokenError),
    Claims(ClaimError),
    /// The milliseconds of life that the credentials have, negative when they have none.
    Expiring(i64),
    /// Passed on.
    EksAuth(ServiceError),
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::EksAuth(error)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::EksAuth(code.into())
    }
}

impl Refusal {
    /// The one that a status is known for.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            400 => Some(ErrorCode::AccessDenied.into()),
            403 => Some(Self::Host("localhost".to_owned())),
            404 => Some(ErrorCode::ResourceNotFound.into()),
            405 => Some(Self::Method),
            429 => Some(Self::Limited),
            500 => Some(ErrorCode::InternalServer.into()),
            503 => Some(ErrorCode::ServiceUnavailable.into()),
            _ => None,
        }
    }

    pub(crate) fn answer(&self) -> AgentAnswer {
        match self {
            Self::NotFound => text(StatusCode::NOT_FOUND, "404 page not found"),
            Self::Method => {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
                let get = HeaderValue::from_static("GET");
                answer.headers_mut().insert(ALLOW, get);
                answer
            }
            Self::Host(host) => {
                let words = format!(
                    "Access Denied. Called agent through invalid address, please use either \
                     [169.254.170.23 fd00:ec2::23] address not {host}"
                );
                text(StatusCode::FORBIDDEN, words)
            }
            Self::Limited => text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
            Self::Token(TokenError::Empty) => {
                let words = "Service account token cannot be empty";
                text(StatusCode::BAD_REQUEST, words)
            }
            Self::Token(error) => {
                let words = format!("Service account token cannot be parsed: {error}");
                text(StatusCode::BAD_REQUEST, words)
            }
            Self::Claims(error) => {
                let words =
                    format!("Service account token failed basic claim validations: {error}");
                text(StatusCode::BAD_REQUEST, words)
            }
            Self::Expiring(millis) => {
                let seconds = *millis as f64 / 1000.0;
                let words = format!(
                    "fetched credentials are expired or will expire within the next {seconds:.2} seconds"
                );
                text(StatusCode::INTERNAL_SERVER_ERROR, words)
            }
            Self::EksAuth(error) => passed_on(error),
        }
    }
}

/// `[request id]: (Code): message, fault: client`.
fn passed_on(error: &ServiceError) -> AgentAnswer {
    let status = StatusCode::from_u16(error.code().status());
    let status = status.expect("the status of an error must be one");
    let fault = if status.is_server_error() {
        "server"
    } else {
        "client"
    };
    let id = ids::uuid(&mut fastrand::Rng::new());
    let (code, words) = (error.code().name(), error.words());
    text(status, format!("[{id}]: ({code}): {words}, fault: {fault}"))
}
