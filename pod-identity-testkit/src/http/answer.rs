use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use pod_identity_core::Timestamp;
use pod_identity_core::wire::eks_auth::ErrorBody;
use pod_identity_core::wire::plain_text;

/// An answer before it is sent.
pub(crate) type Answer = Response<Bytes>;

/// The code of an error that no header has, as an extension of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorCodeOf(pub(crate) &'static str);

/// The access key id of a success, as an extension of its answer.
#[derive(Debug, Clone)]
pub(crate) struct AccessKeyId(pub(crate) String);

/// The paths of members that faults change and that the answer does not have, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Missing(pub(crate) Vec<String>);

/// An answer without a content type.
///
/// # Panics
/// Panics if the status does not have three digits; it comes from the test, not from the network.
pub(crate) fn bare(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() =
        StatusCode::from_u16(status).expect("a status must lie within 100..=999");
    answer
}

/// An answer with the content type of JSON.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    typed(status, "application/json", body)
}

/// An answer of the query protocol.
pub(crate) fn xml(status: u16, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/xml", body)
}

pub(crate) fn html(status: u16, body: &'static str) -> Answer {
    typed(status, "text/html; charset=utf-8", body)
}

/// An answer as Go's `http.Error` writes it: plain text, a trailing newline, no sniffing.
pub(crate) fn text(status: u16, message: impl fmt::Display) -> Answer {
    let status = StatusCode::from_u16(status).expect("a status must lie within 100..=999");
    plain_text(status, message).map(Bytes::from)
}

/// # Panics
/// Panics if the location is not a header value.
pub(crate) fn redirect(status: u16, location: &str) -> Answer {
    let mut answer = html(status, "<a href=\"elsewhere\">Moved</a>.\n");
    let location = HeaderValue::from_str(location).expect("a location must be a header value");
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// An error of rest-json: the code in a header, the message in the body.
pub(crate) fn error(status: u16, code: &'static str, message: &str) -> Answer {
    let body = ErrorBody {
        message: message.to_owned(),
    };
    let body = serde_json::to_string(&body).expect("a string must serialize");
    let mut answer = json(status, body);
    let code = HeaderValue::from_static(code);
    answer.headers_mut().insert(ErrorBody::CODE_HEADER, code);
    answer
}

/// Adds the header `Date`, unless a fault has set it: by the mock's clock, so that the corrections that clients
/// make for a wrong clock can be tested.
pub(crate) fn date(answer: &mut Answer, now: Timestamp) {
    let seconds = u64::try_from(now.as_unix_secs()).unwrap_or_default();
    let date = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_DATE));
    let date = HeaderValue::try_from(httpdate::fmt_http_date(date));
    let date = date.expect("a date must be a header value");
    answer.headers_mut().entry(DATE).or_insert(date);
}

fn typed(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = bare(status, body);
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// The end of the year 9999: the format has four digits for it.
const LAST_DATE: u64 = 253_402_300_799;
