use super::order::Orderable;
use crate::eks::operation_faults::AllFaults;
use crate::fault::queue::Faults;
use crate::http::gates::Gates;
use crate::{AgentFault, Fault, Operation};

/// Where the faults of a mock wait: in one queue, or in one for each operation.
pub(crate) trait Queues<F: Orderable>: Sync {
    /// That of an operation; unless told, of the only one or of EKS Auth.
    fn of(&self, operation: Option<Operation>) -> &Faults<F>;

    fn clear(&self);

    fn gates(&self) -> &Gates {
        &self.of(None).gates
    }
}

impl Queues<AgentFault> for Faults<AgentFault> {
    fn of(&self, _any: Option<Operation>) -> &Self {
        self
    }

    fn clear(&self) {
        Self::clear(self);
    }
}

impl Queues<Fault> for AllFaults {
    fn of(&self, operation: Option<Operation>) -> &Faults<Fault> {
        Self::of(
            self,
            operation.unwrap_or(Operation::AssumeRoleForPodIdentity),
        )
    }

    fn clear(&self) {
        Self::clear(self);
    }
}
