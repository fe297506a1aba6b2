use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

/// The stream of a connection, with what can be known of it without reading.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    /// Waits for the first byte. `false`: the client has closed the connection.
    fn sends_something(&self) -> impl Future<Output = bool> + Send;

    /// Whether the client has closed the connection, perhaps after it has sent a request.
    fn is_closed_by_client(&self) -> bool;
}

/// The socket of a client, for which the kernel holds little.
///
/// Dropping it before it was shut down closes it abortively: the kernel forgets what the client has not
/// read. A regular close would leave a socket without a process, which occupies the node's TCP memory for
/// as long as the client keeps its window closed.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    stream: TcpStream,
    is_shut_down: bool,
}

/// Sets the options that the sockets accepted by `listener` inherit. Set before it listens, the receive
/// buffer also bounds the window from the first segment on.
///
/// The kernel doubles the sizes of buffers, for its own overhead, and enlarges neither on its own once it is
/// set. Left to itself it lets a send buffer grow to 4 MiB.
pub(crate) fn configure(listener: SockRef<'_>) -> io::Result<()> {
    listener.set_send_buffer_size(SEND_BUFFER)?;
    listener.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // A response is one write; waiting for more to send would only delay it.
    listener.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    listener.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(())
}

/// A response with credentials has 1.5 to 2.5 KB. The kernel raises it to its minimum, which is 4.5 KiB, and takes a
/// larger response whole if it is one write.
const SEND_BUFFER: usize = 2 * 1024;

/// A request has 1.5 to 3 KB and should fit into the first window, which is about half of twice this.
const RECEIVE_BUFFER: usize = 4 * 1024;

/// The kernel gives up a peer that has acknowledged nothing for this long: it has gone, or does not read.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);

/// The same after the last response. Acknowledgements take milliseconds on a node.
#[cfg(target_os = "linux")]
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl ClientSocket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            is_shut_down: false,
        }
    }
}

impl ClientStream for ClientSocket {
    async fn sends_something(&self) -> bool {
        // Not `readable`, which can be ready without data: that would cost a buffer for nothing.
        matches!(self.stream.peek(&mut [0]).await, Ok(1..))
    }

    fn is_closed_by_client(&self) -> bool {
        let ready = self.stream.ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        if !self.is_shut_down
            && let Err(error) = self.stream.set_zero_linger()
        {
            debug!(%error, "connection is not closed abortively");
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
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
        #[cfg(target_os = "linux")]
        if !self.is_shut_down {
            // A failure means that the connection has ended already.
            let _ended = SockRef::from(&self.stream).set_tcp_user_timeout(Some(CLOSE_TIMEOUT));
        }
        self.is_shut_down = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Configures a socket that was handed in listening; see [`configure`].
pub(crate) fn configure_listening(listener: &TcpListener) {
    configure(SockRef::from(listener))
        .unwrap_or_else(|error| debug!(%error, "socket options cannot be set"));
}
