//! The driver of the slot: tasks, attempts, and what is handed out without a lock.

pub(crate) mod driver;
#[cfg(all(test, interleaved))]
mod interleavings;
pub(crate) mod published;
pub(crate) mod pulse;
pub(crate) mod tasks;
