use std::net::IpAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pod_identity_core::wire::plain_text;
use tracing::debug;

/// Answers requests. Request bodies are ignored.
pub(crate) trait Respond: Send + Sync + 'static {
    /// `address` is the address of the peer; an IPv4 address that is mapped into IPv6 is given as IPv4.
    ///
    /// A [`Reply::Pending`] must not borrow from the request: the buffer that the request was read into
    /// is not held while the reply is awaited.
    fn respond(&self, request: &Request<Incoming>, address: IpAddr) -> Reply<'_>;

    /// Called when a connection is closed, or answered by hyper, before there was a request to answer.
    fn note_rejected(&self, rejected: ConnectionRejected, address: IpAddr) {
        debug!("client-addr" = %address, "{rejected}");
    }

    /// Called when a client has disconnected before its request was read.
    fn note_gone(&self) {}
}

/// A response, now or later. Most are ready: only a pending one costs an allocation.
pub(crate) enum Reply<'a> {
    Ready(Response<Full<Bytes>>),
    Pending(BoxFuture<'a, Response<Full<Bytes>>>),
}

impl Reply<'_> {
    pub(crate) async fn response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Ready(response) => response,
            Self::Pending(response) => response.await,
        }
    }
}

/// Why a connection ended without an answerable request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionRejected {
    #[error("too many connections; this one is not served")]
    TooMany,
    #[error("more requests wait than the agent has memory for; this one is answered 503")]
    TooManyRequests,
    #[error("the request header is larger than 16 KiB or has more than 200 lines")]
    HeaderTooLarge,
    #[error("this is not an HTTP/1.1 request")]
    NotHttp,
}

impl<F> Respond for F
where
    F: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    fn respond(&self, request: &Request<Incoming>, _source: IpAddr) -> Reply<'_> {
        Reply::Ready(self(request))
    }
}

/// Returns a [plain text](plain_text) response.
pub(crate) fn text(status: StatusCode, message: String) -> Response<Full<Bytes>> {
    plain_text(status, message).map(|body| Full::new(Bytes::from(body)))
}
