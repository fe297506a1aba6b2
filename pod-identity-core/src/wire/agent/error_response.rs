use std::fmt;

use crate::wire::agent::members::Members;
use crate::wire::eks_auth::ErrorCode;
use crate::{FailureClass, Secret, is_printable};

/// An error that a client has read from a node agent or another server of container credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The AWS error code, such as `AccessDeniedException`, if the body contains one.
    pub code: Option<String>,
    /// The server's message, as one line of at most [`ErrorResponse::MAX_MESSAGE`] bytes without [unprintable](is_printable) characters.
    /// The token that was sent is replaced by `<token>`.
    pub message: String,
}

impl ErrorResponse {
    /// The maximum length of a message, in bytes. Longer ones are truncated.
    pub const MAX_MESSAGE: usize = 512;

    /// Reads the body of an error. It may be JSON with `Code` or `__type` and `Message`, in any case, the official
    /// agent's `[request id]: (Code): message, fault: client`, or any other text.
    ///
    /// `sent` is the authorization token of the request, which the server may have echoed.
    pub fn read(status: u16, body: &[u8], sent: Option<&Secret>) -> Self {
        match serde_json::from_slice::<Members>(body) {
            Ok(members) => Self::of_members(status, &members, sent),
            Err(_not_json) => {
                let text = String::from_utf8_lossy(body);
                Self::new(status, code_in(&text), &text, sent)
            }
        }
    }

    pub(super) fn of_members(status: u16, members: &Members, sent: Option<&Secret>) -> Self {
        Self::new(status, members.error_code(), members.error_message(), sent)
    }

    fn new(status: u16, code: Option<&str>, message: &str, sent: Option<&Secret>) -> Self {
        let scrub = |text: &str| printable(&without(text, sent));
        Self {
            status,
            code: code.map(scrub),
            message: scrub(message),
        }
    }

    /// Returns the class of a failure with this error.
    ///
    /// If the status is that of a success, the status of the code in EKS Auth is used instead. If EKS Auth has no
    /// such code, 400 is used: the server answers with this error on purpose, so a retry would fail, too.
    pub fn class(&self) -> FailureClass {
        let code = self.code.as_deref();
        let status = match self.status {
            200..=299 => code
                .and_then(ErrorCode::from_name)
                .map_or(400, ErrorCode::status),
            status => status,
        };
        FailureClass::of(status, code)
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        match &self.code {
            Some(code) if !self.message.contains(code.as_str()) => write!(f, ": {code}")?,
            _ => {}
        }
        match self.message.as_str() {
            "" => Ok(()),
            message => write!(f, ": {message}"),
        }
    }
}

/// Returns the code in the official agent's `[request id]: (Code): message, fault: …`.
fn code_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("]: (")?;
    let (code, _) = rest.split_once("): ")?;
    let is_code = !code.is_empty()
        && code.len() <= 64
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(code)
}

fn without(text: &str, secret: Option<&Secret>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret.expose(), "<token>"),
        _ => text.to_owned(),
    }
}

/// Returns `text` as one line without unprintable characters, truncated between two characters.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for char in text.trim().chars() {
        let char = if is_printable(char) { char } else { ' ' };
        if out.len() + char.len_utf8() > ErrorResponse::MAX_MESSAGE {
            break;
        }
        out.push(char);
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_response_is_read_from_json_and_from_the_official_text() {
        let official = "[1b2c-3d]: (AccessDeniedException): Unauthorized Exception! EKS does not have permissions, fault: client\n";
        let response = ErrorResponse::read(400, official.as_bytes(), None);
        assert_eq!(response.code.as_deref(), Some("AccessDeniedException"));
        assert_eq!(response.class(), FailureClass::Denied);
        assert_eq!(
            response.to_string(),
            format!("HTTP 400: {}", official.trim())
        );

        for body in [
            r#"{"Code":"ResourceNotFoundException","Message":"no"}"#,
            r#"{"code":"ResourceNotFoundException","message":"no"}"#,
        ] {
            let response = ErrorResponse::read(404, body.as_bytes(), None);
            assert_eq!(response.class(), FailureClass::Gone);
            assert_eq!(
                response.to_string(),
                "HTTP 404: ResourceNotFoundException: no"
            );
        }
        assert_eq!(ErrorResponse::read(503, b"", None).to_string(), "HTTP 503");
    }

    #[test]
    fn the_code_of_the_official_text_is_a_word_of_at_most_64_letters() {
        let longest = "E".repeat(64);
        for (text, code) in [
            (format!("[id]: ({longest}): no"), Some(&*longest)),
            (format!("[id]: ({longest}E): no"), None),
            ("[id]: (): no".to_owned(), None),
            ("[id]: (two words): no".to_owned(), None),
            ("(Denied): no".to_owned(), None),
        ] {
            let response = ErrorResponse::read(400, text.as_bytes(), None);
            assert_eq!(response.code.as_deref(), code, "{text}");
        }
    }

    #[test]
    fn an_error_response_is_bounded_printable_and_without_the_token() {
        let token = Secret::from("aaa.bbb.ccc".to_owned());
        let response = ErrorResponse::read(
            400,
            "bad token aaa.bbb.ccc\r\n\x1b[31mred\u{2028}a\u{202e}b\0".as_bytes(),
            Some(&token),
        );
        assert_eq!(response.message, "bad token <token>   [31mred a b");
        let empty = Secret::from(String::new());
        let response = ErrorResponse::read(400, b"no token", Some(&empty));
        assert_eq!(response.message, "no token");
        let json = br#"{"code":"aaa.bbb.ccc","message":"aaa.bbb.ccc"}"#;
        assert!(
            !ErrorResponse::read(400, json, Some(&token))
                .to_string()
                .contains("aaa")
        );
        let long = ErrorResponse::read(500, "é".repeat(10_000).as_bytes(), None);
        assert_eq!(long.message.len(), ErrorResponse::MAX_MESSAGE);
    }
}
