use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connections::Place;

/// A stream whose peer has so long for each request header, counted from its first byte, and may rest
/// for so long between requests.
///
/// hyper's own timer runs while a connection is idle too, so it cannot be short; and it is set anew for
/// each request, which costs more than the rest of a cached answer. These are looked at only when there
/// is nothing to read.
pub(crate) struct HeaderDeadline<S> {
    stream: S,
    progress: Arc<Progress>,
    began: Instant,
    /// Made when a header is waited for, which few are: most arrive in one piece.
    deadline: Option<Pin<Box<Sleep>>>,
    idle_since: Option<Instant>,
    /// Left as it is while requests come; when it ends, what is left of the idle time is waited for.
    idle: Option<Pin<Box<Sleep>>>,
}

/// Where a connection is between requests; shared with the service that answers them.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: AtomicU8,
    /// Whether the place counts among those without a whole header.
    headless: AtomicBool,
    place: Place,
}

impl Progress {
    pub(crate) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(IDLE),
            headless: AtomicBool::new(true),
            place,
        })
    }

    /// A header is whole: the request is being answered.
    pub(crate) fn answering(&self) {
        self.stage.store(ANSWERING, Ordering::Relaxed);
        if self.headless.swap(false, Ordering::Relaxed) {
            self.place.end_header();
        }
    }

    /// More of a header is wanted than has arrived. Most arrive in one piece and are never counted.
    fn unfinished(&self) {
        if !self.headless.swap(true, Ordering::Relaxed) {
            self.place.begin_header();
        }
    }

    /// The answer is made: the next byte begins another header.
    pub(crate) fn answered(&self) {
        self.stage.store(IDLE, Ordering::Relaxed);
    }

    /// Ready when the connection has to make room for others.
    pub(crate) async fn closing(&self) {
        self.place.closing().await;
    }
}

// One connection is worked on by one task, so that no order between threads is needed.
const IDLE: u8 = 0;
const HEADER: u8 = 1;
const ANSWERING: u8 = 2;

/// The official agent waits for 5 s too, but holds the bytes of a whole megabyte meanwhile.
const TIME_FOR_A_HEADER: Duration = Duration::from_secs(5);

/// A keep-alive connection may rest for this long; the official agent's 30 s race with the pools of SDKs.
pub(crate) const IDLE_FOR: Duration = Duration::from_secs(90);

impl<S> HeaderDeadline<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            progress,
            began: Instant::now(),
            deadline: None,
            idle_since: None,
            idle: None,
        }
    }

    /// Ready when the connection has been idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.idle_since.get_or_insert_with(Instant::now) + IDLE_FOR;
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(idle.as_mut().poll(cx));
            if idle.deadline() >= end {
                return Poll::Ready(());
            }
            idle.as_mut().reset(end);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeaderDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.progress.stage.load(Ordering::Relaxed) == HEADER {
            this.progress.unfinished();
        }
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let began = buf.filled().len() > before;
            this.idle_since = None;
            if began
                && this
                    .progress
                    .stage
                    .compare_exchange(IDLE, HEADER, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                this.began = Instant::now();
                this.deadline = None;
            }
            return Poll::Ready(done);
        }
        match this.progress.stage.load(Ordering::Relaxed) {
            HEADER => {}
            IDLE => {
                // To hyper it looks as if the peer had closed it.
                ready!(this.poll_idle(cx));
                return Poll::Ready(Ok(()));
            }
            _answering => {
                this.deadline = None;
                // hyper may not look again before the next request, so the timer is to wake it.
                let _still_answering = this.poll_idle(cx);
                return Poll::Pending;
            }
        }
        let end = this.began + TIME_FOR_A_HEADER;
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(sleep_until(end)));
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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

    use super::*;
    use crate::connections::{Caps, Connections};

    fn guarded() -> (
        tokio::io::DuplexStream,
        HeaderDeadline<tokio::io::DuplexStream>,
        Arc<Progress>,
    ) {
        let connections = Arc::new(Connections::new(Caps::default()));
        let place = connections.admit("10.0.0.7".parse().unwrap()).unwrap();
        let progress = Progress::new(place);
        let (client, server) = duplex(1024);
        (
            client,
            HeaderDeadline::new(server, Arc::clone(&progress)),
            progress,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_end_is_given_up_five_seconds_after_its_first_byte() {
        let (mut client, mut server, _progress) = guarded();
        let mut buffer = [0; 16];
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        client.write_all(b"GET /").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_an_answer_that_takes_long_nor_rest_between_requests_counts() {
        let (mut client, mut server, progress) = guarded();
        let mut buffer = [0; 16];
        for stage in [Progress::answering, Progress::answered] {
            client.write_all(b"GET /").await.unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
            progress.answering();
            stage(&progress);
            let waited =
                tokio::time::timeout(Duration::from_secs(60), server.read(&mut buffer)).await;
            assert!(waited.is_err(), "no deadline");
            progress.answered();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_rest_for_90_seconds_after_each_request() {
        let (mut client, mut server, progress) = guarded();
        let mut buffer = [0; 16];
        for _request in 0..3 {
            let rest =
                tokio::time::timeout(Duration::from_secs(89), server.read(&mut buffer)).await;
            assert!(rest.is_err());
            client.write_all(b"GET /").await.unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
            progress.answering();
            progress.answered();
        }
        let began = Instant::now();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0, "the end");
        assert_eq!(began.elapsed().as_secs(), 90);
    }
}
