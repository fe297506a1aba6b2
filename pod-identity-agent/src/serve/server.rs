use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::serve::connections::{Connections, Place};
use crate::serve::drain::DrainWatcher;
use crate::serve::header_timeout::HeaderDeadline;
use crate::serve::respond::{ConnectionRejected, Respond};

/// Serves HTTP/1.1 on one socket, with a task for each connection that is admitted.
///
/// When the shutdown starts, connections that the kernel has accepted already are served, no more are
/// accepted, idle ones are closed, and requests in flight have [`DRAIN_TIMEOUT`] to finish.
pub(crate) async fn serve(
    listener: TcpListener,
    places: Arc<Connections>,
    responder: Arc<impl Respond>,
    mut drain: DrainWatcher,
) {
    let watcher = drain.clone();
    let mut connections = JoinSet::new();
    let mut said = Exhaustion::default();
    let welcome = |connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr| {
        let source = peer.ip().to_canonical();
        let Some(place) = places.admit(source) else {
            responder.note_rejected(ConnectionRejected::TooMany, source);
            return;
        };
        let (place, responder) = (Arc::new(place), Arc::clone(&responder));
        let mut drain = watcher.clone();
        connections.spawn(async move {
            if speaks(&stream, &place, &mut drain).await {
                // On the heap only now: a silent connection costs next to nothing.
                Box::pin(connection(stream, peer, place, &*responder, drain)).await;
            }
        });
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            () = drain.started() => break,
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
    let accept_end = Instant::now() + ACCEPT_DRAIN;
    while let Ok(Ok((stream, peer))) = timeout_at(accept_end, listener.accept()).await {
        welcome(&mut connections, stream, peer);
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        warn!(
            connections = connections.len(),
            "requests were still in flight at the deadline of the shutdown"
        );
    }
}

/// Whether the peer says anything before the connection has to go.
async fn speaks(stream: &TcpStream, place: &Place, drain: &mut DrainWatcher) -> bool {
    let mut byte = [0];
    tokio::select! {
        biased;
        // `readable` may be wrong once, and then there would be a buffer for nothing.
        peeked = stream.peek(&mut byte) => return matches!(peeked, Ok(1..)),
        () = place.closing() => return false,
        () = drain.started() => {}
    }
    let peeked = timeout(ACCEPT_DRAIN, stream.peek(&mut byte)).await;
    matches!(peeked, Ok(Ok(1..)))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<Place>,
    responder: &impl Respond,
    mut drain: DrainWatcher,
) {
    // Answers are one write each; waiting for more to send would only delay them.
    stream
        .set_nodelay(true)
        .unwrap_or_else(|error| debug!(%error, "nodelay"));
    let stream = HeaderDeadline::new(stream, Arc::clone(&place));
    let (place, source) = (&*place, peer.ip().to_canonical());
    let service = service_fn(|request: Request<Incoming>| {
        place.begin_answer();
        let reply = responder.respond(&request, source);
        async {
            let response = reply.response().await;
            place.end_answer();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEADERS)
        // One buffer for head and body: for so few bytes a copy is cheaper than two pieces in one write.
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = place.closing() => {
            debug!("client-addr" = %peer, "connection closed: idle, or others need the room");
            return;
        }
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Err(error) if error.is_parse_too_large() => {
            responder.note_rejected(ConnectionRejected::HeaderTooLarge, source);
        }
        Err(error) if error.is_parse() => {
            responder.note_rejected(ConnectionRejected::NotHttp, source);
        }
        Err(error) => debug!(%error, "client-addr" = %peer, "connection ended"),
        Ok(()) => {}
    }
}

/// Request line and headers together; the largest real token has 2.3 KB. More is answered with 431.
const MAX_HEADERS: usize = 16 * 1024;

/// Requests in flight have this long at a shutdown; an answer takes a second at most.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// At a shutdown: what the kernel has is heard in much less.
const ACCEPT_DRAIN: Duration = Duration::from_millis(50);

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
