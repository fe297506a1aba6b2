use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};

use shuttle::{sync, thread};

/// A mutex after whose release, too, another thread may go on: so it is noticed if something that belongs under the
/// lock is done after it. shuttle's own goes on with another thread before the lock is taken and before it is released.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Makes a mutex.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// Fails, with the lock, if a thread has panicked while it held it.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = |guard| MutexGuard { guard: Some(guard) };
        match self.0.lock() {
            Ok(locked) => Ok(guard(locked)),
            Err(poisoned) => Err(PoisonError::new(guard(poisoned.into_inner()))),
        }
    }
}

/// The lock, until dropped.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    /// `None` while it is dropped.
    guard: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("it is not dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("it is not dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        if !std::thread::panicking() {
            thread::yield_now();
        }
    }
}
