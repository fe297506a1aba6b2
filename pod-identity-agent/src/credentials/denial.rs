use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use pod_identity_core::{ClaimError, TokenError};

use crate::eks_auth::exchange::EksAuthError;
use crate::serve::respond::text;

/// Why a client gets no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The path is not that of the credentials.
    Path,
    /// The method is not `GET`.
    Method,
    /// The request names a host that is not one of the agent's addresses.
    Host(String),
    /// The request has more than one `Host` header.
    RepeatedHost,
    Token(TokenError),
    Claims(ClaimError),
    /// EKS Auth refused, or what it sent cannot be used.
    EksAuth(EksAuthError),
    /// EKS Auth has not answered in time.
    Late {
        last_error: Option<EksAuthError>,
        /// Until EKS Auth is asked again.
        retry_after: Duration,
    },
    /// The source has caused as many exchanges as its budget allows.
    OverBudget {
        /// The flag that sets the budget.
        flag: &'static str,
        /// What EKS Auth said to this very token a moment ago: the pod is to see the real cause.
        last_refusal: Option<EksAuthError>,
    },
    /// As many tokens wait for EKS Auth as there is room for.
    QueueFull,
}

impl Denial {
    /// The value of the label `reason` and of the log's field; `None` if EKS Auth was asked.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Path => Some("Path"),
            Self::Method => Some("Method"),
            Self::Host(_) | Self::RepeatedHost => Some("Host"),
            Self::Token(TokenError::Empty) => Some("Empty"),
            Self::Token(TokenError::Unsigned) => Some("Unsigned"),
            Self::Token(TokenError::NoExpiry) => Some("NoExpiry"),
            Self::Token(_) => Some("Malformed"),
            Self::Claims(ClaimError::Expired) => Some("Expired"),
            Self::Claims(ClaimError::NotYetValid) => Some("NotYetValid"),
            Self::Claims(_) => Some("Audience"),
            Self::OverBudget { .. } => Some("OverBudget"),
            Self::QueueFull => Some("Busy"),
            Self::EksAuth(_) | Self::Late { .. } => None,
        }
    }

    /// The labels `type` and `code` of the official agent's metric of cache errors; `None` for a request
    /// that did not get as far as the cache.
    pub(crate) fn labels(&self) -> Option<(&'static str, &'static str)> {
        let kind = match self {
            Self::Path | Self::Method | Self::Host(_) | Self::RepeatedHost => return None,
            Self::Token(_) | Self::Claims(_) => "token",
            Self::OverBudget { .. } | Self::QueueFull => "agent",
            Self::EksAuth(_) | Self::Late { .. } => "eks_auth",
        };
        let code = match self {
            Self::EksAuth(error)
            | Self::Late {
                last_error: Some(error),
                ..
            } => error.label(),
            _ => self.reason().unwrap_or("Timeout"),
        };
        Some((kind, code))
    }

    /// The answer to the client, and its message.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = text(self.status(), self.message());
        let headers = response.headers_mut();
        if *self == Self::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host(_) => StatusCode::FORBIDDEN,
            Self::RepeatedHost | Self::Token(_) | Self::Claims(_) => StatusCode::BAD_REQUEST,
            Self::EksAuth(error)
            | Self::OverBudget {
                last_refusal: Some(error),
                ..
            } => match error {
                EksAuthError::Refused { status, .. } => {
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            // Every SDK retries a 503; some never retry a 429.
            Self::Late { .. } | Self::OverBudget { .. } | Self::QueueFull => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Seconds until a repetition of the request may be answered differently by the agent itself.
    fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Late { retry_after, .. } => *retry_after,
            Self::OverBudget { .. } | Self::QueueFull => Duration::ZERO,
            _ => return None,
        };
        Some(wait.as_secs_f64().ceil().clamp(1.0, 60.0) as u64)
    }

    /// What the client is told; the official agent's texts where that one has a text.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Path => "404 page not found".to_owned(),
            Self::Method => "Method Not Allowed".to_owned(),
            Self::Host(host) => format!(
                "Access Denied. Called agent through invalid address, please use either \
                 [169.254.170.23 fd00:ec2::23] address not {host}"
            ),
            Self::RepeatedHost => "400 Bad Request: too many Host headers".to_owned(),
            Self::Token(TokenError::Empty) => "Service account token cannot be empty".to_owned(),
            Self::Token(error) => format!("Service account token cannot be parsed: {error}"),
            Self::Claims(error) => {
                format!("Service account token failed basic claim validations: {error}")
            }
            Self::EksAuth(error)
            | Self::OverBudget {
                last_refusal: Some(error),
                ..
            } => error.to_string(),
            Self::Late {
                last_error: Some(error),
                ..
            } => format!("{error}; try again"),
            Self::Late { .. } => "EKS Auth has not answered in time; try again".to_owned(),
            Self::OverBudget { flag, .. } => format!(
                "this address has caused as many exchanges with EKS Auth as {flag} allows; try again"
            ),
            Self::QueueFull => "too many tokens wait for EKS Auth already; try again".to_owned(),
        }
    }
}
