use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pod_identity_core::LogSuppressor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, debug, debug_span, info, warn};

use crate::serve::connections::{ConnectionPermit, Connections};
use crate::serve::drain::DrainWatcher;
use crate::serve::header_timeout::HeaderDeadline;
use crate::serve::respond::{ConnectionRejected, Respond};

/// Serves HTTP/1.1 on one socket, with a task for each connection that is admitted.
///
/// When the shutdown starts, connections that the kernel has accepted already are served, no more are
/// accepted, idle ones are closed, and requests in flight have [`DRAIN_TIMEOUT`] to finish.
pub(crate) async fn serve(
    listener: TcpListener,
    limits: Arc<Connections>,
    responder: Arc<impl Respond>,
    mut drain: DrainWatcher,
) {
    let watcher = drain.clone();
    let mut connections = JoinSet::new();
    let mut exhaustion = LogSuppressor::new(EXHAUSTION_LOG_INTERVAL);
    let admit = |connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr| {
        let source = peer.ip().to_canonical();
        let Some(permit) = limits.admit(source) else {
            responder.note_rejected(ConnectionRejected::TooMany, source);
            return;
        };
        let (permit, responder) = (Arc::new(permit), Arc::clone(&responder));
        let mut drain = watcher.clone();
        // Disabled unless debug lines are logged: an enabled span costs work whenever its task is polled,
        // which is for every request.
        let span = debug_span!("connection", "client-addr" = %peer);
        let serving = async move {
            if sends_something(&stream, &permit, &mut drain).await {
                // On the heap only now: a silent connection costs next to nothing.
                Box::pin(connection(stream, source, permit, &*responder, drain)).await;
            }
        };
        connections.spawn(serving.instrument(span));
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            () = drain.started() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if exhaustion.recovered() {
                    info!("connections are accepted again");
                }
                admit(&mut connections, stream, peer);
            }
            Err(error) => {
                if is_exhaustion(&error) {
                    if let Some(suppressed) = exhaustion.occurred(Instant::now()) {
                        warn!(%error, suppressed, cure = "raise the limit of open files", "connections cannot be accepted");
                    }
                    limits.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let accept_end = Instant::now() + ACCEPT_DRAIN;
    while let Ok(Ok((stream, peer))) = timeout_at(accept_end, listener.accept()).await {
        admit(&mut connections, stream, peer);
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

/// Waits for the first byte. `false`: there is none, and the connection is to be closed.
async fn sends_something(
    stream: &TcpStream,
    permit: &ConnectionPermit,
    drain: &mut DrainWatcher,
) -> bool {
    let mut byte = [0];
    tokio::select! {
        biased;
        // Not `readable`, which can be ready without data: that would cost a buffer for nothing.
        peeked = stream.peek(&mut byte) => return matches!(peeked, Ok(1..)),
        () = permit.closing() => return false,
        () = drain.started() => {}
    }
    let peeked = timeout(ACCEPT_DRAIN, stream.peek(&mut byte)).await;
    matches!(peeked, Ok(Ok(1..)))
}

async fn connection(
    stream: TcpStream,
    source: IpAddr,
    permit: Arc<ConnectionPermit>,
    responder: &impl Respond,
    mut drain: DrainWatcher,
) {
    // Answers are one write each; waiting for more to send would only delay them.
    stream
        .set_nodelay(true)
        .unwrap_or_else(|error| debug!(%error, "nodelay"));
    let stream = HeaderDeadline::new(stream, Arc::clone(&permit));
    let permit = &*permit;
    let service = service_fn(|request: Request<Incoming>| {
        permit.begin_answer();
        let reply = responder.respond(&request, source);
        async {
            let response = reply.response().await;
            permit.end_answer();
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
        () = permit.closing() => {
            debug!("connection closed: idle, or to make room for another");
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
        Err(error) => debug!(%error, "connection failed"),
        Ok(()) => {}
    }
}

/// Request line and headers together; the largest real token has 2.3 KB. More is answered with 431.
const MAX_HEADERS: usize = 16 * 1024;

/// Requests in flight have this long at a shutdown; a response takes a second at most by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// At a shutdown, connections that the kernel has accepted already are found in much less.
const ACCEPT_DRAIN: Duration = Duration::from_millis(50);

/// After a failed accept: long enough not to spin, short enough that clients do not notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const EXHAUSTION_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Whether accepting failed for want of descriptors or memory, rather than because of one connection.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
