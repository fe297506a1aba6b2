use std::fmt::Debug;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The bytes of a connection: TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Debug + Unpin + Send {
    /// Makes closing send a RST instead of a FIN.
    ///
    /// # Errors
    /// Fails if the system refuses the option.
    fn set_zero_linger(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_zero_linger(&self) -> io::Result<()> {
        Self::set_zero_linger(self)
    }
}

#[cfg(any(feature = "api-server", feature = "webhook"))]
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn set_zero_linger(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}
