use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails to write when its peer does not read 1 KiB within 5 s, and that writes at most 16 KiB
/// at once.
///
/// Both bound what the kernel holds for a peer that sends requests and does not read the responses: it takes
/// a write whole while its buffer is not full yet, however small the buffer is.
pub(crate) struct WriteDeadline<S> {
    stream: S,
    /// Set while a write waits for the peer. Most never wait, and set no timer.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that were written since it was set.
    progress: usize,
}

/// As long as a peer has for a request header.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Less is no progress that counts: a peer could read a byte now and then. A page of metrics over a slow
/// link makes more, and takes as long as it takes.
const MIN_PROGRESS: usize = 1024;

/// More than a response with credentials has, also with a long session token, and than a page of metrics. Each is
/// therefore one write. A second one would wait, in a buffer as small as this, until the client acknowledges the
/// first, which its kernel delays by 40 ms.
const MAX_WRITE: usize = 16 * 1024;

impl<S> WriteDeadline<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            deadline: None,
            progress: 0,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let part = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_write(cx, part) {
            this.progress += *done.as_ref().unwrap_or(&0);
            let is_whole = matches!(done, Ok(written) if written == part.len());
            if is_whole || this.progress >= MIN_PROGRESS {
                this.deadline = None;
                this.progress = 0;
            }
            return Poll::Ready(done);
        }
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not read its response within 5 s",
        )))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_disconnected_after_five_seconds() {
        let (mut client, server) = duplex(MAX_WRITE);
        let mut server = WriteDeadline::new(server);
        let response = [b'x'; MAX_WRITE];
        server.write_all(&response).await.unwrap();
        let began = Instant::now();
        let waited = timeout(Duration::from_secs(4), server.write_all(&response)).await;
        assert!(waited.is_err(), "it is waited for");
        // A byte now and then does not help.
        client.read_u8().await.unwrap();
        let error = server.write_all(&response).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_each_response_late_is_served() {
        let (mut client, server) = duplex(MAX_WRITE);
        let mut server = WriteDeadline::new(server);
        let mut response = [b'x'; MAX_WRITE];
        server.write_all(&response).await.unwrap();
        for _response in 0..3 {
            let waited = timeout(Duration::from_secs(4), server.write_all(&response)).await;
            assert!(waited.is_err(), "it is waited for");
            client.read_exact(&mut response).await.unwrap();
            server.write_all(&response).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_response_over_a_slow_link_takes_longer_than_the_deadline() {
        let (mut client, server) = duplex(MAX_WRITE);
        let mut server = WriteDeadline::new(server);
        let began = Instant::now();
        let reading = async {
            let mut part = [0; MIN_PROGRESS];
            for _part in 0..32 {
                tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                client.read_exact(&mut part).await.unwrap();
            }
        };
        let page = [b'x'; 32 * MIN_PROGRESS];
        let (written, ()) = tokio::join!(server.write_all(&page), reading);
        written.unwrap();
        assert!(began.elapsed() > WRITE_TIMEOUT * 5);
    }

    #[tokio::test]
    async fn a_large_response_is_written_in_parts() {
        let (_client, server) = duplex(1 << 20);
        let mut server = WriteDeadline::new(server);
        assert_eq!(server.write(&[b'x'; 20_000]).await.unwrap(), MAX_WRITE);
    }
}
