//! The lock of what several threads use, where the orders of threads are tried: that of the standard library.
//! `just interleavings` compiles the tests with another, at each use of which it is decided which thread goes on.

#[cfg(not(all(test, interleaved)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(all(test, interleaved))]
pub(crate) use pod_identity_interleavings::{Mutex, MutexGuard};
