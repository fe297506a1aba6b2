use std::collections::BTreeMap;

use pod_identity_core::Timestamp;

use crate::fault::operation::Operation;
use crate::fault::queue::{FaultQueue, Pending};

/// The faults of each operation.
#[derive(Debug)]
pub(crate) struct FaultQueues(BTreeMap<Operation, FaultQueue>);

impl FaultQueues {
    pub(crate) fn new() -> Self {
        let all = Operation::ALL.into_iter();
        Self(
            all.map(|operation| (operation, FaultQueue::default()))
                .collect(),
        )
    }

    pub(crate) fn of(&self, operation: Operation) -> &FaultQueue {
        let faults = self.0.get(&operation);
        faults.expect("every operation must have its faults")
    }

    /// The faults that had no effect, each with its operation.
    pub(crate) fn unused(&self) -> Vec<String> {
        let queues = self.0.iter();
        queues
            .flat_map(|(operation, queue)| {
                let unused = queue.unused().into_iter();
                unused.map(move |fault| format!("{fault} of {operation}"))
            })
            .collect()
    }

    pub(crate) fn pending(&self, now: Timestamp) -> Vec<Pending> {
        let queues = self.0.values();
        queues.flat_map(|queue| queue.pending(now)).collect()
    }

    pub(crate) fn forget(&self) {
        self.0.values().for_each(FaultQueue::forget);
    }

    pub(crate) fn clear(&self) {
        self.0.values().for_each(FaultQueue::clear);
    }
}
