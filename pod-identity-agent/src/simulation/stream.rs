use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, DuplexStream, ReadBuf, duplex};

use crate::serve::client_socket::ClientStream;

/// The client's end of a connection in memory. Dropping it hangs up.
pub(super) struct ClientEnd {
    pub(super) stream: DuplexStream,
    is_closed: Arc<AtomicBool>,
}

/// The agent's end.
pub(super) struct AgentEnd {
    /// Buffered, so that the first byte can be waited for without taking it.
    stream: Mutex<BufReader<DuplexStream>>,
    is_closed_by_client: Arc<AtomicBool>,
}

/// A connection whose ends each hold this many bytes that the other has not read.
pub(super) fn connection(capacity: usize) -> (ClientEnd, AgentEnd) {
    let (client, agent) = duplex(capacity);
    let is_closed = Arc::new(AtomicBool::new(false));
    let agent = AgentEnd {
        stream: Mutex::new(BufReader::new(agent)),
        is_closed_by_client: Arc::clone(&is_closed),
    };
    let client = ClientEnd {
        stream: client,
        is_closed,
    };
    (client, agent)
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

impl ClientStream for AgentEnd {
    async fn sends_something(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut stream = self.stream.lock().unwrap();
            let read = ready!(Pin::new(&mut *stream).poll_fill_buf(cx));
            Poll::Ready(read.is_ok_and(|bytes| !bytes.is_empty()))
        })
        .await
    }

    fn is_closed_by_client(&self) -> bool {
        self.is_closed_by_client.load(Ordering::Relaxed)
    }
}

impl AgentEnd {
    fn stream(&mut self) -> Pin<&mut BufReader<DuplexStream>> {
        Pin::new(self.stream.get_mut().unwrap())
    }
}

impl AsyncRead for AgentEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for AgentEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
