use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks also after a panic in another thread: a test that failed must not hide behind a second panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
