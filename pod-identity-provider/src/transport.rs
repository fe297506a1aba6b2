use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// A boxed future, as the extension points return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The most that is read of an answer's body, in bytes: 64 KiB. A real one has about 1.5 KB.
pub const MAX_BODY: usize = 64 * 1024;

/// Carries one request to the agent and its answer back.
///
/// The request is complete: an absolute URI and the headers `Host`, `Authorization` and `Accept`. It
/// goes to one of `addresses`, which were checked just now, and nowhere else: no proxy, no redirect,
/// no second resolution. The future may be dropped at any time; the provider sets the total deadline.
///
/// [`HttpTransport`] is the default. Another one is of use in a test, or to go through a Unix socket.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends the request, and reads the answer with at most [`MAX_BODY`] bytes of its body and one
    /// more, which says that there would have been more.
    fn send(
        &self,
        request: Request<()>,
        addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No address took the connection. The last one's error.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// No address took the connection in time.
    #[error("no connection within {0:?}")]
    ConnectTimedOut(Duration),
    /// TLS was refused by one of the sides.
    #[error("no secure connection: {0}")]
    Tls(#[source] io::Error),
    /// The connection broke, or what came over it was not HTTP.
    #[error("the exchange broke off: {0}")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// HTTP/1.1 over a connection of its own per request, which is closed afterwards: a fetch happens about
/// once in hours, and an idle connection would be dead by then.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    connect_timeout: Duration,
    #[cfg(feature = "rustls")]
    tls: Option<crate::tls::Tls>,
}

impl HttpTransport {
    /// Gives up connecting after `connect_timeout`, all addresses together.
    pub fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            #[cfg(feature = "rustls")]
            tls: None,
        }
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn with_tls(mut self, tls: crate::tls::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    async fn exchange(
        &self,
        request: Request<()>,
        addresses: &[SocketAddr],
    ) -> Result<Response<Zeroizing<Vec<u8>>>, TransportError> {
        let stream = self.connect(addresses).await?;
        if request.uri().scheme() != Some(&Scheme::HTTPS) {
            return converse(stream, request).await;
        }
        #[cfg(feature = "rustls")]
        if let Some(tls) = &self.tls {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let stream = tls
                .connect(&host, stream)
                .await
                .map_err(TransportError::Tls)?;
            return converse(stream, request).await;
        }
        let reason = "https is not supported by this transport";
        Err(TransportError::Tls(io::Error::new(
            io::ErrorKind::Unsupported,
            reason,
        )))
    }

    /// Tries the addresses in turn; each gets an equal share of the time that is left.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, TransportError> {
        let deadline = Instant::now() + self.connect_timeout;
        let mut last = None;
        for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
            let share = deadline.saturating_duration_since(Instant::now())
                / u32::try_from(left).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // The request is one small write: nothing is gained by waiting for more.
                    let _stays_slow = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_elapsed) => {}
            }
        }
        Err(match last {
            Some(error) => TransportError::Connect(error),
            None => TransportError::ConnectTimedOut(self.connect_timeout),
        })
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: Request<()>,
        addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
        Box::pin(async move { self.exchange(request, &addresses).await })
    }
}

async fn converse<S>(
    stream: S,
    request: Request<()>,
) -> Result<Response<Zeroizing<Vec<u8>>>, TransportError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BODY)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = async move {
        let answer = sender
            .send_request(in_origin_form(request))
            .await
            .map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = read(body, head.headers.get(CONTENT_LENGTH)).await?;
        Ok(Response::from_parts(head, body))
    };
    // The connection is driven from here, so that dropping this future closes it: no task to own.
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    let mut open = true;
    poll_fn(move |cx| {
        open = open && connection.as_mut().poll(cx).is_pending();
        exchange.as_mut().poll(cx)
    })
    .await
}

/// A server wants the path alone; `Host` carries the rest.
fn in_origin_form(request: Request<()>) -> Request<Empty<Bytes>> {
    let mut request = request.map(|()| Empty::new());
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request
}

async fn read(
    mut body: Incoming,
    length: Option<&HeaderValue>,
) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // Reserved at once, because a buffer that grows leaves copies of the secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        length.unwrap_or(MAX_BODY).min(MAX_BODY) + 1,
    ));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        let room = MAX_BODY + 1 - bytes.len();
        bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
        if bytes.len() > MAX_BODY {
            break;
        }
    }
    Ok(bytes)
}

fn broken(error: hyper::Error) -> TransportError {
    TransportError::Exchange(error.into())
}
