use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

/// What a mock goes on sending after the body of an answer, as an extension of it: the answer then has no
/// length and ends when the mock ends it. A watch of an API server is such an answer.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    /// Tokio's mutex, because it is held while the next piece is awaited. Extensions of an answer must be
    /// cloneable; nobody else locks it.
    pieces: Arc<Mutex<mpsc::UnboundedReceiver<Piece>>>,
}

/// A part of a [`Feed`].
#[derive(Debug)]
pub(crate) enum Piece {
    /// Sent at once, as one chunk.
    Data(Bytes),
    /// The connection breaks: no end of the answer is sent.
    Break,
}

/// The side of a [`Feed`] that the mock holds. Dropping it ends the answer in order.
pub(crate) type FeedSender = mpsc::UnboundedSender<Piece>;

impl Feed {
    pub(crate) fn channel() -> (FeedSender, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let pieces = Arc::new(Mutex::new(receiver));
        (sender, Self { pieces })
    }

    /// Returns the next piece, or `None` at the end. Nothing is lost if it is dropped before.
    pub(crate) async fn next(&self) -> Option<Piece> {
        self.pieces.lock().await.recv().await
    }
}
