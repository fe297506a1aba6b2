use std::collections::BTreeMap;

use pod_identity_core::Clock;

use crate::fault::queue::Faults;
use crate::{Fault, Gate, Operation, When};

/// The faults of one operation; from [`MockEksAuth::on`](crate::MockEksAuth::on).
///
/// Each operation has a queue of its own, which works as [that of EKS Auth](crate::MockEksAuth#faults).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{ApiErrorCode, Fault, MockEksAuth, Operation, When};
///
/// let eks = MockEksAuth::start().await;
/// let list = eks.on(Operation::ListPodIdentityAssociations);
/// list.inject_next(2, ApiErrorCode::Throttling);
/// list.inject_when(When::nth(5), Fault::Reset);
/// # }
/// ```
#[derive(Debug)]
pub struct OperationFaults<'a> {
    faults: &'a Faults<Fault>,
    clock: &'a dyn Clock,
}

impl<'a> OperationFaults<'a> {
    pub(crate) fn new(faults: &'a Faults<Fault>, clock: &'a dyn Clock) -> Self {
        Self { faults, clock }
    }

    /// Queues a fault for one request.
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.inject_when(When::once(), fault);
    }

    /// Queues a fault for so many requests.
    pub fn inject_next(&self, count: usize, fault: impl Into<Fault>) {
        self.inject_when(When::next(count), fault);
    }

    /// Puts up a fault for every request, until the faults are cleared.
    pub fn inject_always(&self, fault: impl Into<Fault>) {
        self.inject_when(When::always(), fault);
    }

    /// Injects a fault for the requests that [`When`] says. Only those of EKS Auth have a token.
    pub fn inject_when(&self, when: When, fault: impl Into<Fault>) {
        self.faults.push(when, fault.into(), self.clock.now());
    }

    /// Puts up a gate for every request, until it is released.
    pub fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.inject_always(Fault::Gate(gate.clone()));
        gate
    }

    /// Forgets every fault of this operation. Requests that hang, wait at a gate or for a latency go on.
    pub fn clear(&self) {
        self.faults.clear();
    }
}

/// The faults of every operation.
#[derive(Debug)]
pub(crate) struct AllFaults(BTreeMap<Operation, Faults<Fault>>);

impl AllFaults {
    pub(crate) fn new() -> Self {
        let all = Operation::ALL.into_iter();
        Self(all.map(|operation| (operation, Faults::new())).collect())
    }

    pub(crate) fn of(&self, operation: Operation) -> &Faults<Fault> {
        let faults = self.0.get(&operation);
        faults.expect("every operation must have its faults")
    }

    pub(crate) fn clear(&self) {
        self.0.values().for_each(Faults::clear);
    }
}
