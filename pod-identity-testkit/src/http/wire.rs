use http::Method;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};

use crate::http::answer::Answer;
use crate::http::feed::Feed;
use crate::http::request::Request;
use crate::http::stage::Stage;

/// An answer as bytes.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    head: Vec<u8>,
    body: Vec<u8>,
    feed: Option<Feed>,
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Framing {
    #[default]
    Length,
    Chunked,
}

impl Wire {
    /// `request`: what it answers. As of Go's `net/http`, an answer to HTTP/1.0 has that version and says only that the
    /// connection does not end; a redirect has no length for HEAD.
    pub(crate) fn new(answer: Answer, framing: Framing, request: &Request) -> Self {
        let (mut parts, body) = answer.into_parts();
        let feed = parts.extensions.remove::<Feed>();
        let framing = match &feed {
            Some(_endless) => Framing::Chunked,
            None => framing,
        };
        let is_head = request.head.method == Method::HEAD.as_str();
        let is_http_1_0 = request.head.is_http_1_0;
        let headers = &mut parts.headers;
        match framing {
            Framing::Length if is_head && parts.status.is_redirection() => {}
            Framing::Length => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
            Framing::Chunked => {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        match (request.is_last, is_http_1_0) {
            (true, false) => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // Without it, such a client waits for the end.
            (false, true) => {
                headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
            }
            _ => {}
        }
        let reason = parts.status.canonical_reason().unwrap_or_default();
        let version = if is_http_1_0 { "1.0" } else { "1.1" };
        let status = parts.status.as_u16();
        let mut head = format!("HTTP/{version} {status} {reason}\r\n").into_bytes();
        for (name, value) in headers.iter() {
            head.extend_from_slice(canonical(name).as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Self {
            head,
            body: match framing {
                _ if is_head => Vec::new(),
                Framing::Length => body.to_vec(),
                Framing::Chunked if feed.is_some() => chunk(&body),
                Framing::Chunked => chunked(&body),
            },
            feed,
        }
    }

    /// As Go's `net/http` answers what is not a request.
    pub(crate) fn not_a_request(reason: &str) -> Self {
        let head = format!(
            "HTTP/1.1 400 Bad Request{reason}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Connection: close\r\n\r\n"
        );
        Self {
            head: head.into_bytes(),
            body: format!("400 Bad Request{reason}").into_bytes(),
            ..Self::default()
        }
    }

    /// What is sent after the body.
    pub(crate) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// What is sent from the stage before until this one.
    pub(crate) fn piece(&self, stage: Stage) -> Vec<u8> {
        let (head, rest_of_head) = self.head.split_at(self.head.len() / 2);
        let (body, rest_of_body) = self.body.split_at(self.body.len() / 2);
        match stage {
            Stage::BeforeHeaders => Vec::new(),
            Stage::InHeaders => head.to_vec(),
            Stage::InBody => [rest_of_head, body].concat(),
            Stage::AfterBody => rest_of_body.to_vec(),
        }
    }
}

/// The name as Go writes it: `Content-Type`.
fn canonical(name: &HeaderName) -> String {
    let mut starts = true;
    let mut letters = String::with_capacity(name.as_str().len());
    for letter in name.as_str().chars() {
        letters.push(if starts {
            letter.to_ascii_uppercase()
        } else {
            letter
        });
        starts = letter == '-';
    }
    letters
}

/// Two chunks and the end, so that the middle of an ordinary body lies within a chunk.
fn chunked(body: &[u8]) -> Vec<u8> {
    let (short, long) = body.split_at(body.len() / 8);
    [&chunk(short), &chunk(long), LAST_CHUNK].concat()
}

/// One chunk. Without data it is nothing: an empty chunk would be the last one.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    if data.is_empty() {
        return Vec::new();
    }
    let size = format!("{:x}\r\n", data.len());
    [size.as_bytes(), data, b"\r\n"].concat()
}

/// The end of a body in chunks, without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
