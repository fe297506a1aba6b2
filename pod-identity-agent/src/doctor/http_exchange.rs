use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One request over a connection of its own, never through a proxy: what is in the way is to be seen.
///
/// # Errors
/// [`ExchangeError`], which says how far it came.
pub(super) async fn exchange(
    address: SocketAddr,
    request: Request<Empty<Bytes>>,
    patience: Duration,
) -> Result<Response<Bytes>, ExchangeError> {
    let stream = connect(address, patience)
        .await
        .map_err(ExchangeError::Connect)?;
    match timeout(patience, over(stream, request)).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(ExchangeError::NoAnswer(
            "it was not answered in time".to_owned(),
        )),
    }
}

/// # Errors
/// Fails as connecting does, or with [`io::ErrorKind::TimedOut`].
pub(super) async fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn over(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, ExchangeError> {
    let unanswered = |error: hyper::Error| ExchangeError::NoAnswer(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unanswered)?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let response = sender.send_request(request).await.map_err(unanswered)?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| ExchangeError::NoAnswer(error.to_string()))?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// An exchange that brought no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    Connect(io::Error),
    /// Connected, and then this.
    NoAnswer(String),
}

/// A set of credentials has less than 4 KiB.
const MAX_BODY: usize = 64 * 1024;
