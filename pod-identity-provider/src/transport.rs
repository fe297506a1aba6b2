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

use crate::connection::{Connection, Parking};

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
    #[error("the exchange broke off: {}", with_cause(&**.0))]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// HTTP/1.1. A connection is kept for a few seconds after an answer, so that what follows at once need
/// not connect again; then it is closed, because the next fetch is hours away.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    connect_timeout: Duration,
    parking: Parking,
    #[cfg(feature = "rustls")]
    tls: Option<crate::tls::Tls>,
}

impl HttpTransport {
    /// Gives up connecting after `connect_timeout`, all addresses together.
    pub fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            parking: Parking::default(),
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
}

/// An error and what is at the bottom of it: hyper says "connection error", and its cause why.
fn with_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    match causes.last() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn without_tls() -> TransportError {
    let reason = "https is not supported by this transport";
    TransportError::Tls(io::Error::new(io::ErrorKind::Unsupported, reason))
}
