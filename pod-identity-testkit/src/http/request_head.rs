use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use pod_identity_core::Secret;

use crate::record::redaction;

/// The head of an HTTP/1 request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) is_http_1_0: bool,
}

/// Bytes that are not the head of a request.
#[derive(Debug)]
pub(crate) struct BadHead;

/// How the end of a body is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    Length(usize),
    Chunked,
}

impl RequestHead {
    /// The head at the start of `bytes` and its length; `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadHead> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) | Err(_) => return Err(BadHead),
        };
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers: header_map(request.headers).ok_or(BadHead)?,
            is_http_1_0: request.version == Some(0),
        };
        Ok(Some((head, length)))
    }

    pub(crate) fn host(&self) -> Option<String> {
        self.text(HOST)
    }

    pub(crate) fn authorization(&self) -> Option<Secret> {
        self.text(AUTHORIZATION).map(Secret::from)
    }

    /// Returns whether the client wants the connection to end with this request.
    pub(crate) fn is_last(&self) -> bool {
        self.has_token(CONNECTION, "close")
            || (self.is_http_1_0 && !self.has_token(CONNECTION, "keep-alive"))
    }

    /// Returns whether the client waits for `100 Continue` before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        !self.is_http_1_0 && self.has_token(EXPECT, "100-continue")
    }

    /// Returns how the end of the body is determined.
    ///
    /// # Errors
    /// Fails if the length is not a number.
    pub(crate) fn framing(&self) -> Result<BodyFraming, BadHead> {
        if self.headers.contains_key(TRANSFER_ENCODING) {
            return Ok(BodyFraming::Chunked);
        }
        let Some(length) = self.text(CONTENT_LENGTH) else {
            return Ok(BodyFraming::Length(0));
        };
        let length = length.parse().map_err(|_not_a_number| BadHead)?;
        Ok(BodyFraming::Length(length))
    }

    /// Whether a header, which may come several times, has this element in its list.
    fn has_token(&self, name: HeaderName, what: &str) -> bool {
        let values = self.headers.get_all(name).iter();
        let mut elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(what.as_bytes()))
    }

    pub(crate) fn text(&self, name: HeaderName) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

fn header_map(headers: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(header.value).ok()?;
        value.set_sensitive(
            name == AUTHORIZATION || redaction::is_secret_header(name.as_str(), header.value),
        );
        map.append(name, value);
    }
    Some(map)
}

const MAX_HEADERS: usize = 200;

/// Room for a token of 64 KiB, twice.
const MAX_HEAD: usize = 128 * 1024;
