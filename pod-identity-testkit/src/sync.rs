use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex even if a thread panicked while it held the lock: a second panic would hide the failure of the
/// first.
///
/// A lock of the testkit is held for a few statements, never across an await. No other lock is taken meanwhile,
/// unless the field's documentation names the order.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
