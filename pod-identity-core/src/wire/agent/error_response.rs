use std::fmt;

use serde::Deserialize;

use crate::{FailureClass, Secret};

/// An error answer of a node agent, or of another container-credentials server, as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The AWS error code in it, such as `AccessDeniedException`.
    pub code: Option<String>,
    /// Its own words: at most [`ErrorResponse::MAX_MESSAGE`] bytes of printable text, the sent token replaced.
    pub message: String,
}

impl ErrorResponse {
    /// The most that is kept of a message, in bytes.
    pub const MAX_MESSAGE: usize = 512;

    /// Reads an error body: JSON with `Code` and `Message` (or lower case), the official agent's
    /// `[request id]: (Code): message, fault: client`, or any text.
    ///
    /// `sent` is the authorization token of the request, which a careless server may have echoed.
    pub fn read(status: u16, body: &[u8], sent: Option<&Secret>) -> Self {
        let (code, message) = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(json) => (json.code, json.message.unwrap_or_default()),
            Err(_not_json) => {
                let text = String::from_utf8_lossy(body).into_owned();
                (code_in(&text).map(str::to_owned), text)
            }
        };
        let scrub = |text: &str| printable(&without(text, sent));
        Self {
            status,
            code: code.map(|code| scrub(&code)),
            message: scrub(&message),
        }
    }

    /// What it means for what comes next.
    pub fn class(&self) -> FailureClass {
        FailureClass::of(self.status, self.code.as_deref())
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

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(alias = "Code")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// The code in the official agent's `[request id]: (Code): message, fault: …`.
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

/// `text` on one line, without control characters, cut at a character's border.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for char in text.trim().chars() {
        let char = if char.is_control() { ' ' } else { char };
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
    fn an_error_response_is_bounded_printable_and_without_the_token() {
        let token = Secret::from("aaa.bbb.ccc".to_owned());
        let response = ErrorResponse::read(
            400,
            b"bad token aaa.bbb.ccc\r\n\x1b[31mred\x00",
            Some(&token),
        );
        assert_eq!(response.message, "bad token <token>   [31mred");
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
