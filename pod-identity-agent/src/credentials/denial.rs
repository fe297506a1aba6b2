use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use pod_identity_core::wire::agent::Refusal;
use pod_identity_core::{ClaimError, TokenError};

use crate::eks_auth::exchange::EksAuthError;
use crate::serve::respond::text;

/// Why a client gets no credentials.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Denial {
    /// The request or its token is refused without asking EKS Auth, as the official agent does.
    Refused(Refusal),
    /// The request has no `Host` header.
    MissingHost,
    /// The request has more than one `Host` header.
    RepeatedHost,
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
        /// The recent refusal of this token by EKS Auth, which shows the pod the real cause.
        last_refusal: Option<EksAuthError>,
    },
    /// The signature of the token is not that of the cluster's key which the token names.
    WrongSignature,
    /// The source has sent as many tokens with a wrong signature in the name of this pod as the budget of a pod
    /// allows: they are not verified for now.
    TooManyForged {
        /// The flag that sets the budget.
        flag: &'static str,
    },
    /// As many tokens wait for EKS Auth as there is room for.
    QueueFull,
}

impl Denial {
    /// The value of the label `reason` and of the log's field; `None` if EKS Auth was asked.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused(refusal) => match refusal {
                Refusal::NotFound => "Path",
                Refusal::MethodNotAllowed => "Method",
                Refusal::HostNotAllowed { .. } => "Host",
                Refusal::Token(TokenError::Empty) => "Empty",
                Refusal::Token(TokenError::Unsigned) => "Unsigned",
                Refusal::Token(TokenError::NoExpiry) => "NoExpiry",
                Refusal::Claims(ClaimError::Expired) => "Expired",
                Refusal::Claims(ClaimError::NotYetValid) => "NotYetValid",
                Refusal::Claims(_) => "Audience",
                _ => "Malformed",
            },
            Self::MissingHost | Self::RepeatedHost => "Host",
            Self::OverBudget { .. } => "OverBudget",
            Self::WrongSignature => "Signature",
            Self::TooManyForged { .. } => "OverBudget",
            Self::QueueFull => "Busy",
            Self::EksAuth(_) | Self::Late { .. } => return None,
        })
    }

    /// The labels `type` and `code` of the official agent's metric of cache errors; `None` for a request
    /// that did not get as far as the cache.
    pub(crate) fn labels(&self) -> Option<(&'static str, &'static str)> {
        let kind = match self {
            Self::Refused(Refusal::Token(_) | Refusal::Claims(_)) | Self::WrongSignature => "token",
            Self::Refused(_) | Self::MissingHost | Self::RepeatedHost => return None,
            Self::OverBudget { .. } | Self::TooManyForged { .. } | Self::QueueFull => "agent",
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

    /// The answer to the client.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = match self {
            Self::Refused(refusal) => refusal
                .to_response()
                .map(|body| Full::new(Bytes::from(body))),
            _ => text(self.status(), self.message()),
        };
        if let Some(seconds) = self.retry_after() {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::MissingHost | Self::RepeatedHost | Self::WrongSignature => {
                StatusCode::BAD_REQUEST
            }
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
            Self::Late { .. }
            | Self::OverBudget { .. }
            | Self::TooManyForged { .. }
            | Self::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds until the agent may answer the same request differently.
    fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Late { retry_after, .. } => *retry_after,
            Self::OverBudget { .. } | Self::TooManyForged { .. } | Self::QueueFull => {
                Duration::ZERO
            }
            _ => return None,
        };
        Some(wait.as_secs_f64().ceil().clamp(1.0, 60.0) as u64)
    }

    /// Returns the message for the client.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::MissingHost => "400 Bad Request: missing required Host header".to_owned(),
            Self::RepeatedHost => "400 Bad Request: too many Host headers".to_owned(),
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
            Self::WrongSignature => {
                "Service account token cannot be verified: its signature is not that of this cluster's key"
                    .to_owned()
            }
            Self::TooManyForged { flag } => format!(
                "this address has sent as many tokens with a wrong signature as {flag} allows for one pod; try again"
            ),
            Self::QueueFull => "too many tokens wait for EKS Auth already; try again".to_owned(),
        }
    }
}

impl<E: Into<Refusal>> From<E> for Denial {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into())
    }
}

#[cfg(test)]
mod tests {
    use http::header::ALLOW;
    use pod_identity_core::SlotError;

    use super::*;
    use crate::eks_auth::unavailable::Unavailable;

    #[test]
    fn each_denial_has_its_reason_labels_status_and_retry_after() {
        let refused = || EksAuthError::Refused {
            status: 403,
            code: "AccessDeniedException".to_owned(),
            message: "no".to_owned(),
            request_id: None,
        };
        let unreachable = || EksAuthError::Unreachable(Unavailable::other("no route"));
        let late = |last_error, millis| Denial::Late {
            last_error,
            retry_after: Duration::from_millis(millis),
        };
        let over = |last_refusal| Denial::OverBudget {
            flag: "--pod-budget",
            last_refusal,
        };
        let token = |error: TokenError| Denial::from(error);
        let none = None::<&str>;
        let table = [
            (
                Denial::from(Refusal::NotFound),
                Some("Path"),
                None,
                404,
                none,
            ),
            (
                Denial::from(Refusal::MethodNotAllowed),
                Some("Method"),
                None,
                405,
                none,
            ),
            (
                Denial::from(Refusal::HostNotAllowed {
                    host: "rebound.example".to_owned(),
                }),
                Some("Host"),
                None,
                403,
                none,
            ),
            (Denial::MissingHost, Some("Host"), None, 400, none),
            (Denial::RepeatedHost, Some("Host"), None, 400, none),
            (
                token(TokenError::Empty),
                Some("Empty"),
                Some(("token", "Empty")),
                400,
                none,
            ),
            (
                token(TokenError::Unsigned),
                Some("Unsigned"),
                Some(("token", "Unsigned")),
                400,
                none,
            ),
            (
                token(TokenError::NoExpiry),
                Some("NoExpiry"),
                Some(("token", "NoExpiry")),
                400,
                none,
            ),
            (
                token(TokenError::Segments),
                Some("Malformed"),
                Some(("token", "Malformed")),
                400,
                none,
            ),
            (
                ClaimError::Expired.into(),
                Some("Expired"),
                Some(("token", "Expired")),
                400,
                none,
            ),
            (
                ClaimError::NotYetValid.into(),
                Some("NotYetValid"),
                Some(("token", "NotYetValid")),
                400,
                none,
            ),
            (
                ClaimError::Audience.into(),
                Some("Audience"),
                Some(("token", "Audience")),
                400,
                none,
            ),
            (
                Denial::WrongSignature,
                Some("Signature"),
                Some(("token", "Signature")),
                400,
                none,
            ),
            (
                Denial::TooManyForged {
                    flag: "--pod-budget",
                },
                Some("OverBudget"),
                Some(("agent", "OverBudget")),
                503,
                Some("1"),
            ),
            (
                Denial::QueueFull,
                Some("Busy"),
                Some(("agent", "Busy")),
                503,
                Some("1"),
            ),
            (
                over(None),
                Some("OverBudget"),
                Some(("agent", "OverBudget")),
                503,
                Some("1"),
            ),
            (
                over(Some(refused())),
                Some("OverBudget"),
                Some(("agent", "OverBudget")),
                403,
                Some("1"),
            ),
            (
                Denial::EksAuth(refused()),
                None,
                Some(("eks_auth", "AccessDeniedException")),
                403,
                none,
            ),
            (
                Denial::EksAuth(EksAuthError::Malformed("no subject".to_owned())),
                None,
                Some(("eks_auth", "Malformed")),
                500,
                none,
            ),
            (
                Denial::EksAuth(EksAuthError::Slot(SlotError::NotBegun)),
                None,
                Some(("eks_auth", "Expired")),
                500,
                none,
            ),
            (
                late(None, 0),
                None,
                Some(("eks_auth", "Timeout")),
                503,
                Some("1"),
            ),
            (
                late(None, 1001),
                None,
                Some(("eks_auth", "Timeout")),
                503,
                Some("2"),
            ),
            (
                late(Some(unreachable()), 3_600_000),
                None,
                Some(("eks_auth", "Unreachable")),
                503,
                Some("60"),
            ),
        ];
        for (denial, reason, labels, status, retry_after) in table {
            assert_eq!(denial.reason(), reason, "{denial:?}");
            assert_eq!(denial.labels(), labels, "{denial:?}");
            let response = denial.response();
            assert_eq!(response.status(), status, "{denial:?}");
            assert_eq!(response.headers().contains_key(ALLOW), status == 405);
            let header = response.headers().get(RETRY_AFTER);
            let header = header.map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{denial:?}");
        }
    }

    #[test]
    fn a_client_is_told_why_and_whether_to_try_again() {
        let late = |last_error| Denial::Late {
            last_error,
            retry_after: Duration::ZERO,
        };
        let unreachable = EksAuthError::Unreachable(Unavailable::other("no route"));
        let refusal = EksAuthError::Malformed("no subject".to_owned());
        let over = |last_refusal| Denial::OverBudget {
            flag: "--node-budget",
            last_refusal,
        };
        let told = |denial: Denial| denial.message();
        assert_eq!(
            told(late(None)),
            "EKS Auth has not answered in time; try again"
        );
        assert_eq!(
            told(late(Some(unreachable))),
            "EKS Auth could not be asked: no route; try again"
        );
        assert!(told(over(None)).contains("--node-budget"));
        assert_eq!(
            told(over(Some(refusal.clone()))),
            told(Denial::EksAuth(refusal)),
            "the real cause"
        );
        assert!(
            told(Denial::TooManyForged {
                flag: "--pod-budget"
            })
            .contains("--pod-budget")
        );
        assert!(told(Denial::QueueFull).ends_with("try again"));
    }
}
