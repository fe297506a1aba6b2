//! The application's tokio runtimes: what they can do, and tasks on them.

pub(crate) mod capabilities;
pub(crate) mod owned_task;
