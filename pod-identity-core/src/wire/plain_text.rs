use std::fmt;

use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};

/// Returns a response as Go's `http.Error` writes it: plain text with a trailing newline, and a header against
/// sniffing of the content type. The official agent and the official webhook write their errors so.
///
/// ```
/// use http::StatusCode;
/// use pod_identity_core::wire::plain_text;
///
/// let response = plain_text(StatusCode::NOT_FOUND, "404 page not found");
/// assert_eq!(response.body(), "404 page not found\n");
/// assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
/// assert_eq!(response.headers()["x-content-type-options"], "nosniff");
/// ```
pub fn plain_text(status: StatusCode, message: impl fmt::Display) -> Response<String> {
    let mut response = Response::new(format!("{message}\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain_text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain_text);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_plain_text_that_no_browser_sniffs() {
        let response = plain_text(StatusCode::NOT_FOUND, "404 page not found");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.body(), "404 page not found\n");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
}
