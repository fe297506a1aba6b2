use std::io;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No address accepted the connection. Holds the error of the last one.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No address accepted the connection in time.
    #[error("no connection within {0:?}")]
    ConnectTimedOut(Duration),
    /// The TLS handshake failed.
    #[error("no secure connection: {0}")]
    Tls(io::Error),
    /// The connection broke, or what came over it was not HTTP.
    #[error("the exchange broke off: {}", with_cause(&**.0))]
    Exchange(Box<dyn std::error::Error + Send + Sync>),
    /// The tokio runtime has no I/O. Remedy: build it with `enable_all`, or `enable_io`.
    #[error("the tokio runtime has no I/O: build it with `enable_all`")]
    RuntimeWithoutIo,
}

impl TransportError {
    /// Whether another attempt on this runtime must fail in the same way.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self, Self::RuntimeWithoutIo)
    }
}

/// Writes an error with the last of its causes: the text of hyper's error is "connection error", and its cause has
/// the reason.
fn with_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    match causes.last() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
