use std::collections::BTreeMap;

use pod_identity_core::Timestamp;

use crate::fault::faults::{Faults, Pending};
use crate::fault::operation::Operation;
use crate::fault::queue::FaultQueue;

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
}

impl Faults for FaultQueues {
    /// Each with its operation.
    fn unused(&self) -> Vec<String> {
        let queues = self.0.iter();
        queues
            .flat_map(|(operation, queue)| {
                let unused = queue.unused().into_iter();
                unused.map(move |fault| format!("{fault} of {operation}"))
            })
            .collect()
    }

    fn pending(&self, now: Timestamp) -> Vec<Pending> {
        let queues = self.0.values();
        queues.flat_map(|queue| queue.pending(now)).collect()
    }

    fn forget(&self) {
        self.0.values().for_each(FaultQueue::forget);
    }

    fn clear(&self) {
        self.0.values().for_each(FaultQueue::clear);
    }
}
