use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::at_hand::{AtHand, now};
use crate::connections::{Connections, Place};
use crate::header_deadline::HeaderDeadline;

/// Who answers requests. None of them has a body that matters.
pub(crate) trait Respond: Send + Sync + 'static {
    /// What has to be waited for is waited for without the request, which keeps the buffer that it was
    /// read into.
    fn respond(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
    ) -> AtHand<'_, Response<Full<Bytes>>>;
}

/// Who never has to wait for an answer.
impl<F> Respond for F
where
    F: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    fn respond(
        &self,
        request: &Request<Incoming>,
        _peer: SocketAddr,
    ) -> AtHand<'_, Response<Full<Bytes>>> {
        now(self(request))
    }
}

/// Serves HTTP/1.1 on one socket: a task for each connection that gets a place, until told to stop.
///
/// When `stop` turns true, no more connections are accepted, idle ones are closed, and requests in
/// flight have [`DRAIN`] to finish.
pub(crate) async fn serve(
    listener: TcpListener,
    places: Arc<Connections>,
    responder: Arc<impl Respond>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut said = Exhaustion::default();
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            _stopped = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => match places.admit(peer.ip().to_canonical()) {
                Some(place) => {
                    let (place, responder) = (Arc::new(place), Arc::clone(&responder));
                    let (watcher, mut stop) = (graceful.watcher(), stop.clone());
                    connections.spawn(async move {
                        if speaks(&stream, &place, &mut stop).await {
                            // On the heap only now: a silent connection costs next to nothing.
                            Box::pin(connection(stream, peer, place, &*responder, watcher)).await;
                        }
                    });
                }
                None => debug!("client-addr" = %peer, "too many connections; this one is closed"),
            },
            Err(error) => {
                if is_exhaustion(&error) {
                    said.note(&error);
                    places.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        warn!(
            connections = connections.len(),
            "requests were still in flight at the deadline of the shutdown"
        );
    }
}

/// Whether the peer says anything before the connection has to go.
async fn speaks(stream: &TcpStream, place: &Place, stop: &mut watch::Receiver<bool>) -> bool {
    let mut byte = [0];
    tokio::select! {
        // `readable` may be wrong once, and then there would be a buffer for nothing.
        peeked = stream.peek(&mut byte) => matches!(peeked, Ok(1..)),
        () = place.closing() => false,
        _stopped = stop.wait_for(|stop| *stop) => false,
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
    responder: &impl Respond,
    graceful: Watcher,
) {
    // Answers are one write each; waiting for more to send would only delay them.
    stream
        .set_nodelay(true)
        .unwrap_or_else(|error| debug!(%error, "nodelay"));
    let stream = HeaderDeadline::new(stream, Arc::clone(&place));
    let place = &*place;
    let service = service_fn(|request: Request<Incoming>| {
        place.begin_answer();
        let response = responder.respond(&request, peer);
        async {
            let response = response.await;
            place.end_answer();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEADERS)
        // One buffer for head and body: for so few bytes a copy is cheaper than two pieces in one write.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        ended = graceful.watch(connection) => {
            if let Err(error) = ended {
                debug!(%error, "client-addr" = %peer, "connection ended");
            }
        }
        () = place.closing() => debug!("client-addr" = %peer, "connection closed: idle, or others need the room"),
    }
}

/// Request line and headers together; the largest real token has 2.3 KB. More is answered with 431.
const MAX_HEADERS: usize = 16 * 1024;

/// Requests in flight have this long at a shutdown; an answer takes a second at most.
const DRAIN: Duration = Duration::from_secs(5);

/// After a failed accept: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Says that connections cannot be accepted: once, and again when it has been quiet for a minute.
#[derive(Default)]
struct Exhaustion {
    latest: Option<Instant>,
}

impl Exhaustion {
    fn note(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_news = self.latest.is_none_or(|latest| now - latest > QUIET);
        self.latest = Some(now);
        if is_news {
            warn!(%error, cure = "raise the limit of open files", "connections cannot be accepted for now");
        }
    }
}

/// After this long without one, an error is news again.
const QUIET: Duration = Duration::from_secs(60);

/// Whether accepting failed for want of something, rather than for the one connection.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
