//! The locks and atomics of what several threads use, where the orders of threads are tried: those of the standard
//! library. `just interleavings` compiles the tests with others, at each use of which it is decided which thread goes
//! on.

#[cfg(not(all(test, interleaved)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, interleaved))]
pub(crate) use pod_identity_interleavings::{Mutex, MutexGuard, atomic};
