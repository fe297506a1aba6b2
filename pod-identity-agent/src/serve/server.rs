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
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::credentials::at_hand::{AtHand, now};
use crate::serve::connections::{Connections, Place};
use crate::serve::header_timeout::HeaderDeadline;

/// Who answers requests. None of them has a body that matters.
pub(crate) trait Respond: Send + Sync + 'static {
    /// What has to be waited for is waited for without the request, which keeps the buffer that it was
    /// read into.
    fn respond(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
    ) -> AtHand<'_, Response<Full<Bytes>>>;

    /// Takes note of what was refused before there was a request.
    fn note(&self, unheard: Unheard, peer: SocketAddr) {
        debug!("client-addr" = %peer, "{unheard}");
    }
}

/// Why a connection ends without a request that could be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    #[error("too many connections; this one is closed")]
    NoPlace,
    #[error("the request header is larger than 16 KiB")]
    TooLarge,
    #[error("this is not an HTTP/1.1 request")]
    NotHttp,
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
/// When `stop` turns true, those who have connected already are heard, no more connections are accepted,
/// idle ones are closed, and requests in flight have [`DRAIN`] to finish.
pub(crate) async fn serve(
    listener: TcpListener,
    places: Arc<Connections>,
    responder: Arc<impl Respond>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = stop.clone();
    let mut connections = JoinSet::new();
    let mut said = Exhaustion::default();
    let graceful = GracefulShutdown::new();
    let welcome = |connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr| {
        let Some(place) = places.admit(peer.ip().to_canonical()) else {
            responder.note(Unheard::NoPlace, peer);
            return;
        };
        let (place, responder) = (Arc::new(place), Arc::clone(&responder));
        let (watcher, mut stop) = (graceful.watcher(), stop.clone());
        connections.spawn(async move {
            if speaks(&stream, &place, &mut stop).await {
                // On the heap only now: a silent connection costs next to nothing.
                Box::pin(connection(stream, peer, place, &*responder, watcher)).await;
            }
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            _stopped = stopped.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => welcome(&mut connections, stream, peer),
            Err(error) => {
                if is_exhaustion(&error) {
                    said.note(&error);
                    places.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let last_call = Instant::now() + LAST_CALL;
    while let Ok(Ok((stream, peer))) = timeout_at(last_call, listener.accept()).await {
        welcome(&mut connections, stream, peer);
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
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
        biased;
        // `readable` may be wrong once, and then there would be a buffer for nothing.
        peeked = stream.peek(&mut byte) => return matches!(peeked, Ok(1..)),
        () = place.closing() => return false,
        _stopped = stop.wait_for(|stop| *stop) => {}
    }
    let peeked = timeout(LAST_CALL, stream.peek(&mut byte)).await;
    matches!(peeked, Ok(Ok(1..)))
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
            match ended {
                Err(error) if error.is_parse_too_large() => responder.note(Unheard::TooLarge, peer),
                Err(error) if error.is_parse() => responder.note(Unheard::NotHttp, peer),
                Err(error) => debug!(%error, "client-addr" = %peer, "connection ended"),
                Ok(()) => {}
            }
        }
        () = place.closing() => debug!("client-addr" = %peer, "connection closed: idle, or others need the room"),
    }
}

/// Request line and headers together; the largest real token has 2.3 KB. More is answered with 431.
const MAX_HEADERS: usize = 16 * 1024;

/// Requests in flight have this long at a shutdown; an answer takes a second at most.
const DRAIN: Duration = Duration::from_secs(5);

/// At a shutdown: what the kernel has is heard in much less.
const LAST_CALL: Duration = Duration::from_millis(50);

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
