use std::io;

use pod_identity_core::Timestamp;
use serde_json::Value;

use super::fault_order::{FaultOrder, OrderError};
use super::report;
use crate::{MockAgent, MockEksAuth, ProjectedVolume, TokenBuilder};

/// What can be done to a mock from outside.
pub(super) trait Controls: Send + Sync + 'static {
    /// # Errors
    /// [`OrderError`] when this mock does not know the fault.
    fn inject(&self, order: &FaultOrder) -> Result<(), OrderError>;

    fn clear_faults(&self);

    /// Every request since the start, without secrets.
    fn requests(&self) -> Vec<Value>;

    /// Projects a new token.
    ///
    /// # Errors
    /// When the volume cannot be written.
    fn rotate(&self, now: Timestamp) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct AgentControls(pub(super) MockAgent);

impl Controls for AgentControls {
    fn inject(&self, order: &FaultOrder) -> Result<(), OrderError> {
        for fault in order.of_agent()? {
            self.0.inject_when(order.when(), fault);
        }
        Ok(())
    }

    fn clear_faults(&self) {
        self.0.clear_faults();
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.0.secrets();
        let requests = self.0.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::of_agent(request, &secrets))
            .collect()
    }

    fn rotate(&self, now: Timestamp) -> io::Result<()> {
        self.0.rotate_at(now).map(drop)
    }
}

#[derive(Debug)]
pub(super) struct EksControls {
    pub(super) eks: MockEksAuth,
    pub(super) token: TokenBuilder,
    pub(super) volume: ProjectedVolume,
}

impl Controls for EksControls {
    fn inject(&self, order: &FaultOrder) -> Result<(), OrderError> {
        for fault in order.of_eks_auth()? {
            self.eks.inject_when(order.when(), fault);
        }
        Ok(())
    }

    fn clear_faults(&self) {
        self.eks.clear_faults();
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.eks.secrets();
        let requests = self.eks.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::of_eks(request, &secrets))
            .collect()
    }

    fn rotate(&self, now: Timestamp) -> io::Result<()> {
        self.volume.write(self.token.mint(now))
    }
}
