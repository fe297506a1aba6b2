use tokio::sync::watch;

/// A gate that requests wait at until it is released. A clone is the same gate.
///
/// It is shut when created, and stays open once it has been released. See [`Fault::hold`](crate::Fault::hold).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::Gate;
///
/// let gate = Gate::new();
/// assert!(!gate.is_released());
/// gate.release();
/// gate.released().await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Gate {
    /// Returns a shut gate.
    pub fn new() -> Self {
        Self {
            open: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
        }
    }

    /// Opens the gate. It cannot be shut again.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// Returns whether the gate has been opened.
    pub fn is_released(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the gate is open.
    pub async fn released(&self) {
        let open = self.open.subscribe().wait_for(|open| *open).await.map(drop);
        open.expect("a gate must hold its own sender");
    }

    /// Returns the number of requests that wait at the gate now.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Waits until at least `count` requests wait at the gate at the same time.
    pub async fn wait_for(&self, count: usize) {
        let enough = self
            .waiting
            .subscribe()
            .wait_for(|waiting| *waiting >= count)
            .await
            .map(drop);
        enough.expect("a gate must hold its own sender");
    }

    /// Waits as a request does: it is counted meanwhile, and no more once it is dropped.
    pub(crate) async fn pass(&self) {
        let _counted = Waiting::new(&self.waiting);
        self.released().await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
