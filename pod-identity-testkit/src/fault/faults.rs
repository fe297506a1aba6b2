use pod_identity_core::Timestamp;
use serde::Serialize;

use crate::fault::fault::Fault;

/// The faults of a mock.
pub(crate) trait Faults {
    /// The faults that had no effect on any request.
    fn unused(&self) -> Vec<String>;

    /// The faults that are still for requests, in the order of their injection.
    fn pending(&self, now: Timestamp) -> Vec<Pending>;

    /// Forgets which faults have not been used, as after the start.
    fn forget(&self);

    /// Removes every fault. Requests that are held continue.
    fn clear(&self);
}

/// A fault that waits for requests.
#[derive(Debug, Serialize)]
pub(crate) struct Pending {
    pub(crate) fault: Fault,
    /// For how many requests it still is; `None` for every one.
    pub(crate) left: Option<usize>,
    /// Whether it has had an effect.
    pub(crate) used: bool,
}
