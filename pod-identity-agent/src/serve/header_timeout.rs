use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::serve::connection_state::Phase;
use crate::serve::connections::ConnectionPermit;

/// A stream that fails to read when a request header is not complete 5 s after its first byte.
///
/// hyper's own timer also runs while a connection is idle, so it cannot be short; and it is reset for each
/// request, which costs more than the rest of a cached response. This one is set only when a header does
/// not arrive in one piece.
///
/// Bytes behind a whole header are the beginning of the next one, which is timed from when the response to
/// the first has been written. (So is a body, which no request here needs.)
///
/// The end of what a client sends is not its end: `nc -N` and some proxies close their side behind the request
/// and then read the response. hyper drops a response that it owes when it reads the end, so the end is held
/// back until the response has been written. A client that has left looks the same until it is written to,
/// so it is waited for only [`HALF_CLOSED_TIMEOUT`], and not while others wait for its place.
pub(crate) struct HeaderDeadline<S> {
    stream: S,
    permit: Arc<ConnectionPermit>,
    /// The last bytes read.
    tail: [u8; END.len()],
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether a response is partly written.
    is_writing: bool,
    /// Set while the end is held back because a request is being answered.
    half_closed: Option<Pin<Box<Sleep>>>,
}

/// The end of a header.
const END: [u8; 4] = *b"\r\n\r\n";

/// As long as the official agent waits; that one buffers up to a megabyte meanwhile.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

impl<S> HeaderDeadline<S> {
    pub(crate) fn new(stream: S, permit: Arc<ConnectionPermit>) -> Self {
        Self {
            stream,
            permit,
            tail: END,
            deadline: None,
            is_writing: false,
            half_closed: None,
        }
    }

    /// Holds back the end of what the client sends, while it is owed a response.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_answering = self.permit.state().is(Phase::Answering);
        if !is_answering && !self.is_writing {
            return Poll::Ready(());
        }
        if !self.is_writing && self.permit.is_wanted() {
            return Poll::Ready(());
        }
        let timer = || Box::pin(sleep(HALF_CLOSED_TIMEOUT));
        let deadline = self.half_closed.get_or_insert_with(timer);
        // How long a response may take to be read is the matter of `WriteDeadline`.
        if self.is_writing {
            return Poll::Pending;
        }
        deadline.as_mut().poll(cx)
    }
}

/// How long a client that has closed its side is waited for: longer than EKS Auth usually takes. Many clients that
/// have left, as in an outage, would occupy the places of others for as long.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_millis(500);

/// Shifts `bytes` into `tail` from behind.
fn shift(tail: &mut [u8; END.len()], bytes: &[u8]) {
    for byte in bytes.iter().skip(bytes.len().saturating_sub(END.len())) {
        let [_, second, third, fourth] = *tail;
        *tail = [second, third, fourth, *byte];
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeaderDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let bytes = buf.filled().get(before..).unwrap_or_default();
            if bytes.is_empty() && done.is_ok() {
                ready!(this.poll_end(cx));
            }
            shift(&mut this.tail, bytes);
            if !bytes.is_empty() && this.permit.state().is_between_requests() {
                this.permit.begin_header();
                this.deadline = None;
            }
            return Poll::Ready(done);
        }
        if this.permit.state().is_between_requests() && this.tail != END {
            this.permit.begin_header();
            this.deadline = None;
        }
        if !this.permit.state().is(Phase::Header) {
            return Poll::Pending;
        }
        this.permit.wait_for_header();
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(HEADER_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the request header did not arrive within 5 s",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeaderDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_writing = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// hyper flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.is_writing = false;
        if self.half_closed.is_some() && !self.permit.state().is(Phase::Answering) {
            self.half_closed = None;
            // hyper waits to be told that there is something to read: the end.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::serve::connection_limits::ConnectionLimits;
    use crate::serve::connections::Connections;

    fn permit() -> Arc<ConnectionPermit> {
        permit_within(ConnectionLimits::default())
    }

    fn permit_within(limits: ConnectionLimits) -> Arc<ConnectionPermit> {
        let connections = Arc::new(Connections::new(limits));
        let permit = connections.admit("10.0.0.7".parse().unwrap()).permit();
        Arc::new(permit.now_or_never().unwrap().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_header_times_out_five_seconds_after_its_first_byte() {
        let (mut client, server) = duplex(1024);
        let permit = permit();
        let mut server = HeaderDeadline::new(server, Arc::clone(&permit));
        let mut buffer = [0; 16];
        let waited = tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
        assert!(waited.is_err(), "silence has no deadline here");
        let began = Instant::now();
        for bytes in ["GET /", " HTTP"] {
            client.write_all(bytes.as_bytes()).await.unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
            let waited =
                tokio::time::timeout(Duration::from_secs(2), server.read(&mut buffer)).await;
            assert!(waited.is_err(), "it is waited for");
        }
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_responses_and_idle_time_do_not_count_towards_the_header_timeout() {
        let (mut client, server) = duplex(1024);
        let permit = permit();
        let mut server = HeaderDeadline::new(server, Arc::clone(&permit));
        let mut buffer = [0; 16];
        for is_answered in [false, true] {
            for bytes in ["GET /\r", "\n\r", "\n"] {
                client.write_all(bytes.as_bytes()).await.unwrap();
                assert_eq!(server.read(&mut buffer).await.unwrap(), bytes.len());
            }
            permit.begin_answer();
            if is_answered {
                permit.state().end_answer();
            }
            let waited =
                tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
            assert!(waited.is_err(), "no deadline");
            permit.state().end_answer();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipelined_header_has_five_seconds_from_when_it_is_awaited() {
        let (mut client, server) = duplex(1024);
        let permit = permit();
        let mut server = HeaderDeadline::new(server, Arc::clone(&permit));
        let mut buffer = [0; 16];
        client.write_all(b"GET /\r\n\r\nGET /").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 14);
        permit.begin_answer();
        let waited = tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
        assert!(waited.is_err(), "it is being answered");
        permit.state().end_answer();
        let began = Instant::now();
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    /// A request is being answered whose client has closed its side.
    async fn asked_last(
        permit: &Arc<ConnectionPermit>,
    ) -> (HeaderDeadline<DuplexStream>, DuplexStream) {
        let (mut client, server) = duplex(1024);
        let mut server = HeaderDeadline::new(server, Arc::clone(permit));
        client.write_all(b"GET /\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 9);
        permit.begin_answer();
        (server, client)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_held_back_for_half_a_second_while_a_request_is_being_answered() {
        let permit = permit();
        let (mut server, _client) = asked_last(&permit).await;
        let began = Instant::now();
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
        assert_eq!(began.elapsed().as_millis(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_not_held_back_while_others_wait_for_the_place() {
        let limits = ConnectionLimits {
            buffered: 1,
            ..ConnectionLimits::default()
        };
        let permit = permit_within(limits);
        let buffers = permit.free_buffers();
        assert!(buffers.is_some());
        let (mut server, _client) = asked_last(&permit).await;
        let began = Instant::now();
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
        assert!(began.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_held_back_until_a_response_is_written_and_then_told() {
        let permit = permit();
        let (mut server, _client) = asked_last(&permit).await;
        permit.state().end_answer();
        server.write_all(b"HTTP/1.1").await.unwrap();
        let mut buffer = [0; 16];
        let (mut reads, mut writes) = tokio::io::split(server);
        let rest = async {
            sleep(Duration::from_secs(60)).await;
            writes.flush().await.unwrap();
        };
        let began = Instant::now();
        // In this order: who reads must be woken after the flush.
        let both = async { futures_util::join!(reads.read(&mut buffer), rest) };
        let (read, ()) = tokio::time::timeout(Duration::from_secs(90), both)
            .await
            .unwrap();
        assert_eq!(read.unwrap(), 0);
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
