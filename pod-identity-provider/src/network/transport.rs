use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::TransportError;
use crate::network::connection::{Connection, Parking};
use crate::runtime::capabilities as runtime;

/// A boxed future, as the extension points return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends a request to the agent and reads the answer.
///
/// The request is complete: an absolute URI and the headers `Host`, `Authorization` and `Accept`. It
/// goes to one of `addresses`, which have just been checked, and nowhere else: no proxy, no redirect,
/// no second resolution. The future may be dropped at any time; the provider limits its time. A panic in
/// it costs one attempt.
///
/// [`HttpTransport`] is the default. Another one is useful in a test, or to go through a Unix socket. The
/// types are those of the crates [`http`](crate::http) 1 and [`zeroize`](crate::Zeroizing) 1, which
/// this crate re-exports.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends the request, and reads the answer with at most [`MAX_BODY`](crate::MAX_BODY) bytes of its body and one
    /// more, which says that there would have been more.
    fn send(
        &self,
        request: Request<()>,
        addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>>;

    /// Whether it can send a request to an `https` URI. A provider with such an endpoint is not built with
    /// a transport that cannot. Defaults to `true`.
    fn supports_https(&self) -> bool {
        true
    }
}

/// The default transport: HTTP/1.1. It keeps a connection for a few seconds after an answer, so that a request
/// that follows at once does not connect again. Then it closes it, because the next fetch is hours away.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    connect_timeout: Duration,
    parking: Parking,
    #[cfg(feature = "rustls")]
    tls: Option<crate::Tls>,
}

impl HttpTransport {
    /// Creates a transport that gives up connecting after `connect_timeout`, for all addresses together.
    pub fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout: connect_timeout.min(LONGEST_CONNECT),
            parking: Parking::default(),
            #[cfg(feature = "rustls")]
            tls: None,
        }
    }

    /// Adds TLS, for an `https` endpoint.
    #[cfg(feature = "rustls")]
    pub fn with_tls(mut self, tls: crate::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    async fn exchange(
        &self,
        request: Request<()>,
        addresses: &[SocketAddr],
    ) -> Result<Response<Zeroizing<Vec<u8>>>, TransportError> {
        if request.uri().scheme() == Some(&Scheme::HTTPS) {
            return self
                .secure(&request, addresses)
                .await?
                .exchange(request)
                .await;
        }
        if let Some((address, mut parked)) = self.parking.take(addresses)
            && let Ok(answer) = parked.exchange(request.clone()).await
        {
            self.parking.park(address, parked);
            return Ok(answer);
        }
        // A parked connection may have been closed by the agent just now: that says nothing about it.
        let (address, stream) = self.connect(addresses).await?;
        let mut connection = Connection::open(stream).await?;
        let answer = connection.exchange(request).await?;
        self.parking.park(address, connection);
        Ok(answer)
    }

    #[cfg(feature = "rustls")]
    async fn secure(
        &self,
        request: &Request<()>,
        addresses: &[SocketAddr],
    ) -> Result<Connection, TransportError> {
        let Some(tls) = &self.tls else {
            return Err(without_tls());
        };
        let (_, stream) = self.connect(addresses).await?;
        let host = request.uri().host().unwrap_or_default();
        let stream = tls
            .connect(host, stream)
            .await
            .map_err(TransportError::Tls)?;
        Connection::open(stream).await
    }

    #[cfg(not(feature = "rustls"))]
    async fn secure(
        &self,
        _request: &Request<()>,
        _addresses: &[SocketAddr],
    ) -> Result<Connection, TransportError> {
        Err(without_tls())
    }

    /// Tries the addresses in turn; each gets an equal share of the time that is left.
    async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<(SocketAddr, TcpStream), TransportError> {
        if !runtime::has_io() {
            return Err(TransportError::RuntimeWithoutIo);
        }
        let deadline = Instant::now() + self.connect_timeout;
        let mut last = None;
        for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
            let share = deadline.saturating_duration_since(Instant::now())
                / u32::try_from(left).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // The request is one small write: nothing is gained by waiting for more.
                    let _stays_slow = stream.set_nodelay(true);
                    return Ok((*address, stream));
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

    #[cfg(feature = "rustls")]
    fn supports_https(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "rustls"))]
    fn supports_https(&self) -> bool {
        false
    }
}

/// A longer limit is none, and its deadline might not be representable.
const LONGEST_CONNECT: Duration = Duration::from_secs(24 * 60 * 60);

fn without_tls() -> TransportError {
    let reason = "https is not supported by this transport";
    TransportError::Tls(io::Error::new(io::ErrorKind::Unsupported, reason))
}
