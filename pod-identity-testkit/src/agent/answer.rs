use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

use crate::agent::refusal::Refusal;

/// An answer of the agent before it goes to the wire.
pub(crate) type AgentAnswer = Response<Bytes>;

/// A success, or what pretends to be one.
pub(crate) fn json(body: impl Into<Bytes>) -> AgentAnswer {
    typed(StatusCode::OK, "application/json", body)
}

pub(crate) fn html(status: StatusCode, body: &'static str) -> AgentAnswer {
    typed(status, "text/html; charset=utf-8", body)
}

/// As Go's `http.Error`: plain text, a trailing newline, no sniffing.
pub(crate) fn text(status: StatusCode, words: impl fmt::Display) -> AgentAnswer {
    let mut answer = typed(status, "text/plain; charset=utf-8", format!("{words}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// What the official agent says with a status, as far as it uses it; else the status's own name.
pub(crate) fn official(code: u16) -> AgentAnswer {
    match Refusal::of_status(code) {
        Some(refusal) => refusal.answer(),
        None => {
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
