use std::process;

use tokio::task::AbortHandle;

/// A task that ends with its owner.
///
/// It belongs to the process that started it. A child after `fork` has a copy of the handle and none of the
/// threads of the runtime: there the task is not alive, and is left alone.
pub(crate) struct OwnedTask {
    handle: AbortHandle,
    process: u32,
}

impl OwnedTask {
    pub(crate) fn new(handle: AbortHandle) -> Self {
        Self {
            handle,
            process: process::id(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.is_in_this_process() && !self.is_finished()
    }

    /// Whether it has ended. After `fork` the child never sees the end of a task that was not finished then.
    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    fn is_in_this_process(&self) -> bool {
        self.process == process::id()
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        if self.is_in_this_process() {
            self.handle.abort();
        }
    }
}
