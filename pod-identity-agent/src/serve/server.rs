use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::LogSuppressor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{Instrument, debug_span, info, warn};

use crate::serve::client_socket::{self, ClientSocket};
use crate::serve::connection;
use crate::serve::connections::Connections;
use crate::serve::drain::{self, Drain, DrainWatcher};
use crate::serve::respond::Respond;

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
    let unseen = Arc::new(Semaphore::new(MAX_UNSEEN));
    let admit = |tasks: &mut JoinSet<()>,
                 stream: TcpStream,
                 peer: SocketAddr,
                 unseen: Option<OwnedSemaphorePermit>| {
        let address = peer.ip().to_canonical();
        let (socket, drain) = (ClientSocket::new(stream), watcher.clone());
        let serving = connection::admit(socket, address, &connections, &responder, drain, unseen);
        let Some(serving) = serving else {
            return;
        };
        // Disabled unless debug lines are logged: an enabled span costs work whenever its task is polled,
        // which is for every request.
        let span = debug_span!("connection", "client-addr" = %peer);
        tasks.spawn(serving.instrument(span));
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &unseen) => accepted,
            Some(_ended) = tasks.join_next() => continue,
            _drain = drain.started() => break,
        };
        match accepted {
            Ok((stream, peer, unseen)) => {
                if exhaustion.recovered() {
                    info!("connections are accepted again");
                }
                admit(&mut tasks, stream, peer, Some(unseen));
            }
            Err(error) => {
                if is_exhaustion(&error) {
                    if let Some(suppressed) = exhaustion.occurred(Instant::now()) {
                        warn!(%error, suppressed, remedy = "raise the limit of open files", "connections cannot be accepted");
                    }
                    // The wait below is for a task that ends from now on.
                    while tasks.try_join_next().is_some() {}
                    connections.make_room();
                }
                // The descriptor of a connection is free when its task has ended.
                tokio::select! {
                    Some(_ended) = tasks.join_next() => {}
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    let handed_over = hand_over(&listener, |stream, peer| {
        admit(&mut tasks, stream, peer, None)
    })
    .await;
    leave.start(match handed_over {
        true => Drain::HandedOver,
        false => Drain::Ending,
    });
    let accept_end = Instant::now() + ACCEPT_DRAIN;
    // `timeout_at` looks at the time only when there is nothing to accept.
    while Instant::now() < accept_end
        && let Ok(Ok((stream, peer))) = timeout_at(accept_end, listener.accept()).await
    {
        admit(&mut tasks, stream, peer, None);
    }
    for (stream, peer) in accept_rest(listener) {
        admit(&mut tasks, stream, peer, None);
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        warn!(
            connections = tasks.len(),
            "requests were still in flight at the deadline of the shutdown"
        );
    }
}

/// Accepts a connection, unless too many have not been looked at since.
async fn accept(
    listener: &TcpListener,
    unseen: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(unseen).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
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

/// Accepted connections that have not been looked at yet. More wait in the kernel, where they cost the agent nothing:
/// with too little processor it would otherwise accept thousands before it answers the first.
const MAX_UNSEEN: usize = 64;

/// Requests in flight have this long at a shutdown; a response takes a second at most by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// At a shutdown, connections that the kernel has accepted already are found in much less.
const ACCEPT_DRAIN: Duration = Duration::from_millis(50);

/// After a failed accept, unless a connection ends: long enough not to spin, short enough that clients do not notice.
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{IpAddr, Shutdown};

    use http::Request;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::yield_now;

    use super::*;
    use crate::serve::connection_limits::ConnectionLimits;
    use crate::serve::respond::{Reply, text};

    /// Answers when it is released.
    struct Held {
        asked: Semaphore,
        released: Semaphore,
    }

    impl Respond for Held {
        fn respond(&self, _request: &Request<Incoming>, _address: IpAddr) -> Reply<'_> {
            self.asked.add_permits(1);
            Reply::Pending(Box::pin(async {
                let _released = self.released.acquire().await;
                text(http::StatusCode::OK, String::new())
            }))
        }
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A server, and a client whose request is being answered.
    struct Busy {
        responder: Arc<Held>,
        connections: Arc<Connections>,
        address: SocketAddr,
        trigger: drain::DrainTrigger,
        serving: JoinSet<()>,
        client: TcpStream,
    }

    async fn busy(limits: ConnectionLimits) -> Busy {
        let responder = Arc::new(Held {
            asked: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let connections = Arc::new(Connections::new(limits));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, watcher) = drain::channel();
        let mut serving = JoinSet::new();
        serving.spawn(serve(
            listener,
            Arc::clone(&connections),
            Arc::clone(&responder),
            watcher,
        ));
        let client = asking(address).await;
        // Time stands still while a task is ready, however busy the machine is.
        while responder.asked.available_permits() == 0 {
            yield_now().await;
        }
        Busy {
            responder,
            connections,
            address,
            trigger,
            serving,
            client,
        }
    }

    async fn asking(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        client
    }

    /// A client that has sent its request and closed its side.
    fn asking_last(address: SocketAddr) -> TcpStream {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(REQUEST).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.set_nonblocking(true).unwrap();
        TcpStream::from_std(client).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_closed_its_side_gets_its_response() {
        let busy = busy(ConnectionLimits::default()).await;
        let mut client = asking_last(busy.address);
        busy.responder.released.add_permits(2);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_closed_its_side_is_told_that_there_is_no_room() {
        let busy = busy(ConnectionLimits {
            per_source: 1,
            ..ConnectionLimits::default()
        })
        .await;
        let mut late = asking_last(busy.address);
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }

    fn one_with_buffers() -> ConnectionLimits {
        ConnectionLimits {
            buffered: 1,
            ..ConnectionLimits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_for_which_there_are_no_buffers_in_time_is_answered_503() {
        let busy = busy(one_with_buffers()).await;
        let mut late = asking(busy.address).await;
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(
            answer.contains("too many requests wait for the agent; try again"),
            "{answer}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_gone_while_it_waited_for_buffers_is_not_answered() {
        let mut busy = busy(one_with_buffers()).await;
        let pause = Duration::from_millis(100);
        let gone = asking(busy.address).await;
        while busy.connections.open() < 2 {
            yield_now().await;
        }
        sleep(pause).await;
        drop(gone);
        sleep(pause).await;
        busy.responder.released.add_permits(1);
        let mut answer = [0; 12];
        busy.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        sleep(pause).await;
        assert_eq!(busy.responder.asked.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_that_wait_for_room_do_not_hold_up_a_shutdown() {
        let mut busy = busy(ConnectionLimits {
            per_source: 1,
            ..ConnectionLimits::default()
        })
        .await;
        let connections = Arc::clone(&busy.connections);
        let queued = async |count| {
            while connections.queued() < count {
                yield_now().await;
            }
        };
        let _told = TcpStream::connect(busy.address).await.unwrap();
        queued(1).await;
        sleep(Duration::from_millis(2100)).await;
        let _waiting = TcpStream::connect(busy.address).await.unwrap();
        queued(2).await;
        let began = Instant::now();
        busy.trigger.start(Drain::Ending);
        busy.responder.released.add_permits(1);
        busy.serving.join_next().await.unwrap().unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
}
