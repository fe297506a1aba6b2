use std::collections::BTreeMap;

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

    pub(crate) fn clear(&self) {
        self.0.values().for_each(FaultQueue::clear);
    }
}
