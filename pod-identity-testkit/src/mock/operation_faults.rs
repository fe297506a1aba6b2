use std::fmt::Debug;
use std::sync::Arc;

use crate::fault::error::FaultError;
use crate::fault::fault::Fault;
use crate::fault::faults::Faults;
use crate::fault::operation::Operation;
use crate::http::gate::Gate;
use crate::http::stage::Stage;
use crate::mock::mock::Mock;
use crate::mock::mock_server::MockServer;

/// The faults of one operation of a mock, such as [`MockEksAuth::on`](crate::MockEksAuth::on) returns them.
///
/// Each operation has a queue of its own, which works as [that of the agent](crate::MockAgent#faults).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{ApiErrorCode, Fault, MockEksAuth, Operation, Stage};
///
/// // Without a request, the faults below would fail the test.
/// let eks = MockEksAuth::builder().unverified().start().await.unwrap();
/// let list = eks.on(Operation::ListPodIdentityAssociations);
/// list.inject_next(2, ApiErrorCode::Throttling);
/// list.inject(Fault::reset(Stage::InBody).nth(5));
/// # }
/// ```
#[derive(Debug)]
pub struct OperationFaults<'a> {
    target: &'a dyn Injectable,
    operation: Operation,
}

impl<'a> OperationFaults<'a> {
    pub(crate) fn new<M: Mock + Debug>(
        server: &'a Arc<MockServer<M>>,
        operation: Operation,
    ) -> Self {
        Self {
            target: server,
            operation,
        }
    }

    /// Injects a fault, by default for the next request.
    ///
    /// # Panics
    /// Panics if members of the fault exclude each other, or if this operation does not have the fault.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Fault>) {
        let injected = self.target.inject(fault.into().on(self.operation));
        if let Err(error) = injected {
            panic!("cannot inject the fault: {error}");
        }
    }

    /// Injects a fault for the next `count` requests.
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

    /// Removes every fault of this operation. Requests that are held continue.
    pub fn clear(&self) {
        self.target.clear(self.operation);
    }
}

/// Whatever mock the faults are for.
trait Injectable: Debug {
    fn inject(&self, fault: Fault) -> Result<(), FaultError>;

    fn clear(&self, operation: Operation);
}

impl<M: Mock + Debug> Injectable for Arc<MockServer<M>> {
    fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        MockServer::inject(self, fault, self.service().now())
    }

    fn clear(&self, operation: Operation) {
        self.service().queue(Some(operation)).clear();
    }
}
