use std::sync::Arc;

use crate::eks::service::EksAuthService;
use crate::fault::mock_server::MockServer;
use crate::{Fault, Gate, Operation, Stage};

/// The faults of one operation; from [`MockEksAuth::on`](crate::MockEksAuth::on).
///
/// Each operation has a queue of its own, which works as [that of the agent](crate::MockAgent#faults).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{ApiErrorCode, Fault, MockEksAuth, Operation, Stage};
///
/// let eks = MockEksAuth::start().await;
/// let list = eks.on(Operation::ListPodIdentityAssociations);
/// list.inject_next(2, ApiErrorCode::Throttling);
/// list.inject(Fault::reset(Stage::InBody).nth(5));
/// # }
/// ```
#[derive(Debug)]
pub struct OperationFaults<'a> {
    server: &'a Arc<MockServer<EksAuthService>>,
    operation: Operation,
}

impl<'a> OperationFaults<'a> {
    pub(crate) fn new(server: &'a Arc<MockServer<EksAuthService>>, operation: Operation) -> Self {
        Self { server, operation }
    }

    /// Injects a fault: for the next request, unless the fault says for which.
    ///
    /// # Panics
    /// Panics if parts of the fault exclude each other, or if this operation has no such fault.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.server.inject_now(fault.into().on(self.operation));
    }

    /// Injects a fault for so many requests.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_next(&self, count: usize, fault: impl Into<Fault>) {
        self.inject(fault.into().times(count));
    }

    /// Injects a fault for every request, until the faults are cleared.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_always(&self, fault: impl Into<Fault>) {
        self.inject(fault.into().always());
    }

    /// Holds every request before its answer until the gate is released.
    pub fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.inject_always(Fault::hold(Stage::BeforeHeaders, &gate));
        gate
    }

    /// Removes every fault of this operation. Requests that wait go on.
    pub fn clear(&self) {
        self.server.service().faults.of(self.operation).clear();
    }
}
