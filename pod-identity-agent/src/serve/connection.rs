use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::serve::client_socket::ClientStream;
use crate::serve::connection_state::Phase;
use crate::serve::connections::{Admission, ConnectionPermit, Connections, NoPermit};
use crate::serve::drain::{Drain, DrainWatcher};
use crate::serve::header_timeout::HeaderDeadline;
use crate::serve::respond::{ConnectionRejected, Respond, text};
use crate::serve::write_timeout::WriteDeadline;

/// Decides about a new connection, and returns what serves it to its end. `None`: it is not served at all.
///
/// `unseen` is dropped when the connection is looked at for the first time. It is passed here, because a future around
/// the returned one would take twice its memory in each connection.
pub(crate) fn admit<S: ClientStream, R: Respond, U: Send>(
    socket: S,
    address: IpAddr,
    connections: &Arc<Connections>,
    responder: &Arc<R>,
    mut drain: DrainWatcher,
    unseen: U,
) -> Option<impl Future<Output = ()> + Send + use<S, R, U>> {
    let admission = connections.admit(address);
    if let Admission::Rejected = admission {
        responder.note_rejected(ConnectionRejected::TooMany, address);
        return None;
    }
    let responder = Arc::clone(responder);
    Some(async move {
        drop(unseen);
        match wait_for_permit(admission, &socket, &mut drain).await {
            None => {}
            Some(Ok(permit)) => {
                serve_connection(socket, address, permit, &*responder, drain).await;
            }
            Some(Err(no_permit)) => {
                responder.note_rejected(ConnectionRejected::TooMany, address);
                let (patience, _place) = match no_permit {
                    NoPermit::Displaced => (Duration::ZERO, None),
                    NoPermit::TimedOut(queued) => (LATE_REQUEST_TIMEOUT, Some(queued)),
                };
                turn_away(socket, patience, &mut drain).await;
            }
        }
    })
}

/// Serves one connection to its end.
async fn serve_connection(
    socket: impl ClientStream,
    address: IpAddr,
    permit: ConnectionPermit,
    responder: &impl Respond,
    mut drain: DrainWatcher,
) {
    if waits_for_request(&socket, &permit, &mut drain).await {
        let permit = Arc::new(permit);
        let mut buffers = permit.free_buffers();
        // Where there are none, who has given up costs no answer: an agent with too little processor would have time
        // for nothing else. Those who have only closed their side, which looks the same, are not answered either then.
        if buffers.is_none() {
            // It is not silent any more, so nobody closes it to make room.
            permit.begin_header();
            if !socket.is_closed_by_client() {
                buffers = permit.wait_for_buffers().await;
            }
            if socket.is_closed_by_client() {
                return responder.note_gone();
            }
        }
        let Some(_buffers) = buffers else {
            responder.note_rejected(ConnectionRejected::TooManyRequests, address);
            return answer_busy(socket, ConnectionRejected::TooManyRequests);
        };
        // On the heap only now: a silent connection costs next to nothing.
        let permit = Arc::clone(&permit);
        Box::pin(serve_requests(socket, address, permit, responder, drain)).await;
    }
}

/// Waits for the permit of a connection. `None`: it is to be closed, because it sends nothing while the server ends.
async fn wait_for_permit(
    admission: Admission,
    socket: &impl ClientStream,
    drain: &mut DrainWatcher,
) -> Option<Result<ConnectionPermit, NoPermit>> {
    tokio::select! {
        biased;
        permit = admission.permit() => Some(permit),
        () = stays_silent_in_drain(socket, drain) => None,
    }
}

/// Answers the request of a connection that got no permit with 503, if it arrives within this time.
///
/// Nothing is held for it while it is waited for, and a header that is incomplete then is not: the connection is
/// closed abortively, like one that stays silent.
async fn turn_away(socket: impl ClientStream, patience: Duration, drain: &mut DrainWatcher) {
    let sends = tokio::select! {
        biased;
        sends = timeout(patience, socket.sends_something()) => sends,
        () = stays_silent_in_drain(&socket, drain) => return,
    };
    if sends == Ok(true) {
        answer_busy(socket, ConnectionRejected::TooMany);
    }
}

/// Answers the request that waits in the socket with 503.
fn answer_busy(socket: impl ClientStream, why: ConnectionRejected) {
    let service = service_fn(|_request: Request<Incoming>| async {
        let message = match why {
            ConnectionRejected::TooManyRequests => "too many requests wait for the agent",
            _ => "too many connections are open from this address",
        };
        let message = format!("{message}; try again");
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, message);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(1));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok::<_, Infallible>(response)
    });
    // Who closes its side behind the request is answered too.
    let mut http = http();
    let connection = http.half_close(true);
    let connection = connection.serve_connection(TokioIo::new(socket), service);
    let _unanswered = Box::pin(connection).now_or_never();
}

/// Waits for the first byte. `false`: there is none, and the connection is to be closed.
async fn waits_for_request(
    socket: &impl ClientStream,
    permit: &ConnectionPermit,
    drain: &mut DrainWatcher,
) -> bool {
    tokio::select! {
        biased;
        sends = socket.sends_something() => return sends,
        () = permit.state().closing() => return false,
        drain = drain.started() => {
            if drain == Drain::HandedOver {
                permit.state().leave_after_next_answer();
                let sends = timeout(HANDOVER_TIMEOUT, socket.sends_something()).await;
                return sends.unwrap_or(false);
            }
        }
    }
    // A client that has just connected is about to send its request.
    let time = FIRST_REQUEST_TIMEOUT.saturating_sub(permit.state().opened().elapsed());
    let sends = timeout(time.max(FOUND_REQUEST_TIMEOUT), socket.sends_something()).await;
    sends.unwrap_or(false)
}

/// Ends if the client sends nothing for a moment after the shutdown has started. Whoever has sent a request gets an
/// answer.
async fn stays_silent_in_drain(socket: &impl ClientStream, drain: &mut DrainWatcher) {
    drain.started().await;
    if timeout(FIRST_REQUEST_TIMEOUT, socket.sends_something()).await == Ok(true) {
        pending().await
    }
}

async fn serve_requests(
    socket: impl ClientStream,
    address: IpAddr,
    permit: Arc<ConnectionPermit>,
    responder: &impl Respond,
    mut drain: DrainWatcher,
) {
    let stream = HeaderDeadline::new(WriteDeadline::new(socket), Arc::clone(&permit));
    let permit = &*permit;
    let service = service_fn(|request: Request<Incoming>| {
        permit.begin_answer();
        let reply = responder.respond(&request, address);
        async {
            let mut response = reply.response().await;
            let is_last = permit.end_answer();
            if is_last {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = permit.state().closing() => {
            debug!("connection closed: idle, or to make room for another");
            // Whoever was displaced between two requests is closed abortively: it may not read its last
            // response, and the kernel would hold that for it.
            let is_displaced = permit.state().is_leaving() && !permit.state().is(Phase::Cut);
            if !is_displaced {
                connection.as_mut().graceful_shutdown();
                // An idle connection ends at once; one that does not is closed abortively.
                let _ended = connection.now_or_never();
            }
            return;
        }
        () = must_end(permit, &mut drain) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = stops_answering(permit) => return,
            }
        }
    };
    match ended {
        Err(error) if error.is_parse_too_large() => {
            responder.note_rejected(ConnectionRejected::HeaderTooLarge, address);
        }
        Err(error) if error.is_parse() => {
            responder.note_rejected(ConnectionRejected::NotHttp, address);
        }
        Err(error) => debug!(%error, "connection failed"),
        Ok(()) => {}
    }
}

/// Returns how HTTP is served.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        // One buffer for head and body: for so few bytes a copy is cheaper than two pieces in one write.
        .writev(false);
    http
}

/// Waits until a shutdown ends the connection. Where another process has taken over, an idle connection is
/// not closed at once: a request that crossed with the close would be lost. The next response tells the
/// client to connect anew instead.
async fn must_end(permit: &ConnectionPermit, drain: &mut DrainWatcher) {
    if drain.started().await == Drain::HandedOver {
        permit.state().leave_after_next_answer();
        sleep(HANDOVER_TIMEOUT).await;
    }
}

/// At a shutdown, waits as long as a request is being answered, and a moment for a header that has begun to
/// arrive and for a response that is being read.
async fn stops_answering(permit: &ConnectionPermit) {
    loop {
        sleep(DRAIN_INTERVAL).await;
        if !permit.state().is(Phase::Answering) {
            return;
        }
    }
}

/// Request line and headers together; the largest real token has 2.3 KB. More is answered with 431.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// hyper's default of 100 is fewer than proxies in front of a client may add.
const MAX_HEADERS: usize = 200;

/// At a shutdown, a connection that has sent nothing is kept until it is this old.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// At a shutdown, bytes that the kernel holds already are found in much less.
const FOUND_REQUEST_TIMEOUT: Duration = Duration::from_millis(50);

/// A connection that has waited in vain has this long to send its request, so that its client gets an answer
/// also on a machine that is too busy to send at once.
const LATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept where another process has taken over, within the 5 s that a shutdown
/// takes at most. Clients that pause for longer meet the close between two requests in all likelihood.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(4);

const DRAIN_INTERVAL: Duration = Duration::from_secs(1);
