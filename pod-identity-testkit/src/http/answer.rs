use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use pod_identity_core::wire::eks_auth::ErrorBody;

/// An answer before it goes to the wire.
pub(crate) type Answer = Response<String>;

/// An answer that does not say what its body is.
///
/// # Panics
/// When the status is not of three digits; it comes from the test, not from the network.
pub(crate) fn bare(status: u16, body: String) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() =
        StatusCode::from_u16(status).expect("a status must lie within 100..=999");
    answer
}

/// An answer whose body is JSON, or pretends to be.
pub(crate) fn json(status: u16, body: String) -> Answer {
    let mut answer = bare(status, body);
    let content_type = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// An answer of the query protocol.
pub(crate) fn xml(status: u16, body: String) -> Answer {
    let mut answer = bare(status, body);
    let content_type = HeaderValue::from_static("text/xml");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// The code of an error that no header says, as an extension of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorCodeOf(pub(crate) &'static str);

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
