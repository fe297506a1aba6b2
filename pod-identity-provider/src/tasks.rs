use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The driver's tasks, which end with it.
#[derive(Default)]
pub(crate) struct Tasks {
    background: Mutex<Option<Owned>>,
    attempt: Mutex<Option<Owned>>,
}

impl Tasks {
    /// Starts the background task unless there is one alive.
    pub(crate) fn ensure_background<F>(&self, runtime: &Handle, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut background = self
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if background.as_ref().is_none_or(|task| task.0.is_finished()) {
            *background = Some(Owned(runtime.spawn(task()).abort_handle()));
        }
    }

    /// Starts an attempt. One before it has ended, or was given up.
    pub(crate) fn start_attempt(
        &self,
        runtime: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        // Not under the lock: a runtime that is shutting down drops the task, and with it the answer
        // that it owes, before this returns.
        let task = runtime.spawn(task);
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Owned(task.abort_handle()));
    }
}

/// A task that ends with its owner.
pub(crate) struct Owned(AbortHandle);

impl Owned {
    pub(crate) fn new(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
