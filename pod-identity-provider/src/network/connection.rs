use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::TransportError;
use crate::runtime::owned_task::OwnedTask;

/// One HTTP/1.1 connection, which carries requests one after another. Dropping it closes it, even during an
/// exchange.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: OwnedTask,
}

impl Connection {
    pub(crate) async fn open<S>(stream: S) -> Result<Self, TransportError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = Builder::new();
        let handshake = builder
            .max_buf_size(MAX_BODY)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(broken)?;
        let driver = Handle::current().spawn(async {
            // The exchange on the connection fails with the same error.
            let _broken = connection.await;
        });
        Ok(Self {
            sender,
            _driver: OwnedTask::new(driver.abort_handle()),
        })
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<()>,
    ) -> Result<Response<Zeroizing<Vec<u8>>>, TransportError> {
        self.sender.ready().await.map_err(broken)?;
        let answer = self.sender.send_request(in_origin_form(request));
        let (head, body) = answer.await.map_err(broken)?.into_parts();
        let body = read(body, head.headers.get(CONTENT_LENGTH)).await?;
        Ok(Response::from_parts(head, body))
    }
}

/// Keeps at most one idle connection, for a few seconds: fetches are hours apart, but the attempts of one fetch
/// and a refresh after a rejected key follow each other at once.
///
/// A connection belongs to the process that opened it. A child after `fork` shares its socket with the
/// parent, and has none of the threads that drive it: the child leaves it alone, and does not close it.
#[derive(Clone, Default)]
pub(crate) struct Parking(Arc<Mutex<Option<Parked>>>);

struct Parked {
    process: u32,
    address: SocketAddr,
    /// The runtime that drives the connection. On another one a request might wait for its whole time,
    /// because that runtime may not be driven any more.
    runtime: Id,
    /// The reaper is late if the runtime is not driven, and whatever happened to the network meanwhile, a
    /// request on an old connection could wait for its whole time.
    since: Instant,
    connection: Connection,
    _reaper: OwnedTask,
}

impl Parking {
    /// Returns the parked connection if it leads to one of these addresses, is on the current runtime, has not
    /// been parked for too long and is still open.
    pub(crate) fn take(&self, addresses: &[SocketAddr]) -> Option<(SocketAddr, Connection)> {
        let parked = self.lock()?.take()?;
        if parked.process != std::process::id() {
            // Dropping it would wake a runtime that has no threads any more.
            std::mem::forget(parked);
            return None;
        }
        let usable = addresses.contains(&parked.address)
            && parked.runtime == Handle::current().id()
            && parked.since.elapsed() < PARKED_FOR
            && !parked.connection.sender.is_closed();
        usable.then_some((parked.address, parked.connection))
    }

    pub(crate) fn park(&self, address: SocketAddr, connection: Connection) {
        let Some(mut parked) = self.lock() else {
            return;
        };
        let spot = Arc::downgrade(&self.0);
        let reaper = Handle::current().spawn(async move {
            tokio::time::sleep(PARKED_FOR).await;
            if let Some(spot) = spot.upgrade() {
                *spot.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        });
        *parked = Some(Parked {
            process: std::process::id(),
            address,
            runtime: Handle::current().id(),
            since: Instant::now(),
            connection,
            _reaper: OwnedTask::new(reaper.abort_handle()),
        });
    }

    /// Does not wait: in a child after `fork` the lock may stay locked for ever.
    fn lock(&self) -> Option<MutexGuard<'_, Option<Parked>>> {
        match self.0.try_lock() {
            Ok(parked) => Some(parked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parking")
    }
}

/// Well below the time after which agents close an idle connection: 30 s for the official one.
const PARKED_FOR: Duration = Duration::from_secs(5);

/// The most that is read of an answer's body, in bytes: 64 KiB. A real one has about 1.5 KB.
pub const MAX_BODY: usize = 64 * 1024;

/// Reduces the URI to its path, as servers expect; `Host` has the rest.
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_connection_of_another_runtime_is_not_used_because_nobody_may_drive_it() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
        };
        let (first, second) = (runtime().unwrap(), runtime().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let parking = Parking::default();
        let (stream, _agent) = tokio::io::duplex(64);
        let connection = first.block_on(Connection::open(stream)).unwrap();
        first.block_on(async { parking.park(address, connection) });
        let taken = second.block_on(async { parking.take(&[address]) });
        assert!(taken.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_parked_for_too_long_is_not_used_although_no_task_has_closed_it()
    {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let (stream, _agent) = tokio::io::duplex(64);
        let parking = Parking::default();
        parking.park(address, Connection::open(stream).await.unwrap());
        let (address, connection) = parking.take(&[address]).unwrap();
        parking.park(address, connection);
        // The first poll moves the clock, and no task has run since.
        let mut advance = pin!(tokio::time::advance(PARKED_FOR));
        let _yielded = advance
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(parking.take(&[address]).is_none());
    }
}
