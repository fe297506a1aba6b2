use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use pod_identity_core::wire::agent::Refusal;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::wire::plain_text;

use crate::ServiceError;

/// An answer of the agent before it goes to the wire.
pub(crate) type AgentAnswer = Response<Bytes>;

/// A success, or what pretends to be one.
pub(crate) fn json(body: impl Into<Bytes>) -> AgentAnswer {
    typed(StatusCode::OK, "application/json", body)
}

pub(crate) fn html(status: StatusCode, body: &'static str) -> AgentAnswer {
    typed(status, "text/html; charset=utf-8", body)
}

pub(crate) fn text(status: StatusCode, message: impl fmt::Display) -> AgentAnswer {
    plain_text(status, message).map(Bytes::from)
}

pub(crate) fn refusal(refusal: &Refusal) -> AgentAnswer {
    refusal.to_response().map(Bytes::from)
}

/// The official agent's answer with a status, if it uses the status; else the status's own name.
pub(crate) fn official(code: u16) -> AgentAnswer {
    let eks_auth = |code: ErrorCode| refusal(&ServiceError::from(code).into());
    match code {
        400 => eks_auth(ErrorCode::AccessDenied),
        403 => refusal(&Refusal::HostNotAllowed {
            host: "localhost".to_owned(),
        }),
        404 => eks_auth(ErrorCode::ResourceNotFound),
        405 => refusal(&Refusal::MethodNotAllowed),
        429 => refusal(&Refusal::TooManyRequests),
        500 => eks_auth(ErrorCode::InternalServer),
        503 => eks_auth(ErrorCode::ServiceUnavailable),
        _ => {
            let status = status(code);
            text(status, status.canonical_reason().unwrap_or("no words"))
        }
    }
}

pub(crate) fn redirect(code: u16, location: &str) -> AgentAnswer {
    let mut answer = html(status(code), "<a href=\"elsewhere\">Moved</a>.\n");
    let location = HeaderValue::from_str(location).expect("a location must be a header value");
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// # Panics
/// When the status is not of three digits; it comes from the test, not from the network.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status must lie within 100..=999")
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> AgentAnswer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}
