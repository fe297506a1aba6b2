use bytes::Bytes;
use http::{Method, Uri};

use crate::http::request_head::RequestHead;

/// A request that has been read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    /// Empty if it was not read, or could not be.
    pub(crate) body: Bytes,
    /// Whether the connection ends with its answer: the client wants that, or part of it was not read.
    pub(crate) is_last: bool,
}

impl Request {
    /// Returns the request as a type of the crate `http`; `None` if that crate rejects its target.
    pub(crate) fn to_http(&self) -> Option<http::Request<Bytes>> {
        let mut request = http::Request::new(self.body.clone());
        *request.method_mut() = Method::from_bytes(self.head.method.as_bytes()).ok()?;
        *request.uri_mut() = Uri::try_from(self.head.target.as_str()).ok()?;
        *request.headers_mut() = self.head.headers.clone();
        Some(request)
    }
}
