use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::serve::connections::{Place, Stage};

/// A stream whose peer has so long for each request header, counted from its first byte.
///
/// hyper's own timer runs while a connection is idle too, so it cannot be short; and it is set anew for
/// each request, which costs more than the rest of a cached answer. This one is set only where a header
/// does not arrive in one piece.
///
/// What follows a whole header in the same piece is the beginning of the next: it counts from when the
/// answer to the first is out and more is wanted. (So does a body, which no request here needs.)
pub(crate) struct HeaderDeadline<S> {
    stream: S,
    place: Arc<Place>,
    /// The latest bytes.
    tail: [u8; END.len()],
    deadline: Option<Pin<Box<Sleep>>>,
}

/// How a header ends.
const END: [u8; 4] = *b"\r\n\r\n";

/// The official agent waits for 5 s too, but holds the bytes of a whole megabyte meanwhile.
const TIME_FOR_A_HEADER: Duration = Duration::from_secs(5);

impl<S> HeaderDeadline<S> {
    pub(crate) fn new(stream: S, place: Arc<Place>) -> Self {
        Self {
            stream,
            place,
            tail: END,
            deadline: None,
        }
    }
}

/// The last bytes of `tail` and `bytes`.
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
            shift(&mut this.tail, bytes);
            if !bytes.is_empty() && this.place.is(Stage::Idle) {
                this.place.begin_header();
                this.deadline = None;
            }
            return Poll::Ready(done);
        }
        if this.place.is(Stage::Idle) && this.tail != END {
            this.place.begin_header();
            this.deadline = None;
        }
        if !this.place.is(Stage::Header) {
            return Poll::Pending;
        }
        this.place.wait_for_header();
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(TIME_FOR_A_HEADER)));
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
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::serve::connections::{Caps, Connections};

    fn place() -> Arc<Place> {
        let connections = Arc::new(Connections::new(Caps::default()));
        Arc::new(connections.admit("10.0.0.7".parse().unwrap()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_end_is_given_up_five_seconds_after_its_first_byte() {
        let (mut client, server) = duplex(1024);
        let place = place();
        let mut server = HeaderDeadline::new(server, Arc::clone(&place));
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
    async fn neither_an_answer_that_takes_long_nor_rest_between_requests_counts() {
        let (mut client, server) = duplex(1024);
        let place = place();
        let mut server = HeaderDeadline::new(server, Arc::clone(&place));
        let mut buffer = [0; 16];
        for stage in [Place::begin_answer, Place::end_answer] {
            for bytes in ["GET /\r", "\n\r", "\n"] {
                client.write_all(bytes.as_bytes()).await.unwrap();
                assert_eq!(server.read(&mut buffer).await.unwrap(), bytes.len());
            }
            place.begin_answer();
            stage(&place);
            let waited =
                tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
            assert!(waited.is_err(), "no deadline");
            place.end_answer();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_begins_behind_a_whole_one_has_five_seconds_from_when_it_is_wanted() {
        let (mut client, server) = duplex(1024);
        let place = place();
        let mut server = HeaderDeadline::new(server, Arc::clone(&place));
        let mut buffer = [0; 16];
        client.write_all(b"GET /\r\n\r\nGET /").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 14);
        place.begin_answer();
        let waited = tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
        assert!(waited.is_err(), "it is being answered");
        place.end_answer();
        let began = Instant::now();
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}
