use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::LogSuppressor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, debug_span, info, warn};

use crate::serve::client_socket::{self, ClientSocket};
use crate::serve::connection::{serve_connection, turn_away};
use crate::serve::connections::{Admission, Connections, NoPermit};
use crate::serve::drain::{self, Drain, DrainWatcher};
use crate::serve::respond::{ConnectionRejected, Respond};

/// Serves HTTP/1.1 on one socket, with a task for each connection that is admitted.
///
/// When the shutdown starts, another process that listens at the same address gets new connections, those
/// that the kernel has accepted already are served, no more are accepted, idle ones are closed, and requests
/// in flight have [`DRAIN_TIMEOUT`] to finish. Where another process has taken over, idle connections are
/// kept for a while: a client may be about to send its next request.
pub(crate) async fn serve(
    listener: TcpListener,
    connections: Arc<Connections>,
    responder: Arc<impl Respond>,
    mut drain: DrainWatcher,
) {
    let (leave, watcher) = drain::channel();
    client_socket::configure_listening(&listener);
    let mut tasks = JoinSet::new();
    let mut exhaustion = LogSuppressor::new(EXHAUSTION_LOG_INTERVAL);
    let admit = |tasks: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr| {
        let address = peer.ip().to_canonical();
        let admission = connections.admit(address);
        let (socket, responder) = (ClientSocket::new(stream), Arc::clone(&responder));
        if let Admission::Rejected = admission {
            responder.note_rejected(ConnectionRejected::TooMany, address);
            return;
        }
        let drain = watcher.clone();
        // Disabled unless debug lines are logged: an enabled span costs work whenever its task is polled,
        // which is for every request.
        let span = debug_span!("connection", "client-addr" = %peer);
        let serving = async move {
            match admission.permit().await {
                Ok(permit) => serve_connection(socket, address, permit, &*responder, drain).await,
                Err(no_permit) => {
                    responder.note_rejected(ConnectionRejected::TooMany, address);
                    let (patience, _place) = match no_permit {
                        NoPermit::Displaced => (Duration::ZERO, None),
                        NoPermit::TimedOut(queued) => (LATE_REQUEST_TIMEOUT, Some(queued)),
                    };
                    turn_away(socket, patience).await;
                }
            }
        };
        tasks.spawn(serving.instrument(span));
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = tasks.join_next() => continue,
            _drain = drain.started() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if exhaustion.recovered() {
                    info!("connections are accepted again");
                }
                admit(&mut tasks, stream, peer);
            }
            Err(error) => {
                if is_exhaustion(&error) {
                    if let Some(suppressed) = exhaustion.occurred(Instant::now()) {
                        warn!(%error, suppressed, remedy = "raise the limit of open files", "connections cannot be accepted");
                    }
                    connections.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let handed_over = hand_over(&listener, |stream, peer| admit(&mut tasks, stream, peer)).await;
    leave.start(match handed_over {
        true => Drain::HandedOver,
        false => Drain::Ending,
    });
    let accept_end = Instant::now() + ACCEPT_DRAIN;
    // `timeout_at` looks at the time only when there is nothing to accept.
    while Instant::now() < accept_end
        && let Ok(Ok((stream, peer))) = timeout_at(accept_end, listener.accept()).await
    {
        admit(&mut tasks, stream, peer);
    }
    for (stream, peer) in accept_rest(listener) {
        admit(&mut tasks, stream, peer);
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        warn!(
            connections = tasks.len(),
            "requests were still in flight at the deadline of the shutdown"
        );
    }
}

#[cfg(target_os = "linux")]
use crate::serve::successor::hand_over;

#[cfg(not(target_os = "linux"))]
async fn hand_over(_listener: &TcpListener, _accepted: impl FnMut(TcpStream, SocketAddr)) -> bool {
    false
}

/// Accepts what the kernel has, without waiting, and then closes the listener. The kernel resets connections
/// that are in its queue when that happens, so nothing comes between the last attempt and the end. Connections
/// that arrive faster than they are accepted do not hold up the end.
fn accept_rest(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut accepted = Vec::new();
    if let Ok(listener) = listener.into_std() {
        while accepted.len() < LONGEST_QUEUE
            && let Ok((stream, peer)) = listener.accept()
        {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                accepted.push((stream, peer));
            }
        }
    }
    accepted
}

/// No listener of the agent has a longer queue in the kernel: Linux allows 4,096 by default.
const LONGEST_QUEUE: usize = 4096;

/// Requests in flight have this long at a shutdown; a response takes a second at most by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// At a shutdown, connections that the kernel has accepted already are found in much less.
const ACCEPT_DRAIN: Duration = Duration::from_millis(50);

/// A connection that has waited in vain has this long to send its request, so that its client gets an answer
/// also on a machine that is too busy to send at once.
const LATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

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
