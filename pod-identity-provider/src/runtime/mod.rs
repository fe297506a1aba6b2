//! The application's tokio runtimes: what they can do, their timers, and tasks on them.

pub(crate) mod capabilities;
pub(crate) mod owned_task;
pub(crate) mod timer;
