use std::future::Future;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::pod_volume::PodVolume;
use super::report;
use crate::agent::service::AgentService;
use crate::eks::service::EksAuthService;
use crate::fault::action::Action;
use crate::fault::error::FaultError;
use crate::fault::mock::Mock;
use crate::fault::mock_server::MockServer;
use crate::fault::timeline::{Target, Timeline};
use crate::http::gates::Gates;
use crate::{Fault, MockAgent, MockEksAuth, Scenario, SigningKey};

/// The controls of a mock that the admin endpoint offers. They fail if the token cannot be written, or if
/// another process has taken the port.
pub(super) trait Controls: Send + Sync + 'static {
    type Mock: Mock;

    fn server(&self) -> &Arc<MockServer<Self::Mock>>;

    /// Removes every fault of requests.
    fn clear_queues(&self);

    /// Returns every request since the start, without secrets.
    fn requests(&self) -> Vec<Value>;

    /// Projects a new token.
    fn rotate(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Applies the events of the scenario up to now.
    fn catch_up(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Restores the state after the start, and starts the scenario again.
    fn reset(&self) -> impl Future<Output = io::Result<()>> + Send;

    fn gates(&self) -> &Gates {
        self.server().service().gates()
    }

    fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        let server = self.server();
        server.inject(fault, server.now())
    }

    fn clear_faults(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.clear_queues();
        let server = &**self.server();
        let is_of_fault = |action: &Action| matches!(action, Action::Refuse | Action::Listen);
        server.timeline().forget(is_of_fault);
        apply_now(server, &[Action::Listen])
    }
}

#[derive(Debug)]
pub(super) struct AgentControls {
    pub(super) agent: MockAgent,
    pub(super) scenario: Option<Scenario>,
}

impl Controls for AgentControls {
    type Mock = AgentService;

    fn server(&self) -> &Arc<MockServer<AgentService>> {
        &self.agent.server
    }

    fn clear_queues(&self) {
        self.agent.clear_faults();
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.agent.secrets();
        let requests = self.agent.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::agent_request(request, &secrets))
            .collect()
    }

    async fn rotate(&self) -> io::Result<()> {
        apply_now(&**self.server(), &[Action::Rotate]).await
    }

    async fn catch_up(&self) -> io::Result<()> {
        self.agent.catch_up().await
    }

    async fn reset(&self) -> io::Result<()> {
        self.clear_queues();
        begin_again(&**self.server()).await?;
        let agenda = self.scenario.as_ref().map(Scenario::agent_agenda);
        self.server().begin(agenda.unwrap_or_default()).await
    }
}

#[derive(Debug)]
pub(super) struct EksControls {
    pub(super) eks: MockEksAuth,
    pub(super) pod: Arc<PodVolume>,
    pub(super) scenario: Option<Scenario>,
}

impl Controls for EksControls {
    type Mock = EksAuthService;

    fn server(&self) -> &Arc<MockServer<EksAuthService>> {
        &self.eks.server
    }

    fn clear_queues(&self) {
        self.eks.clear_faults();
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.eks.secrets();
        let requests = self.eks.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::eks_request(request, &secrets))
            .collect()
    }

    async fn rotate(&self) -> io::Result<()> {
        apply_now(&*self.pod, &[Action::Rotate]).await
    }

    async fn catch_up(&self) -> io::Result<()> {
        // The keys before the token that they sign.
        self.eks.catch_up().await?;
        Timeline::catch_up(&*self.pod).await.map(drop)
    }

    async fn reset(&self) -> io::Result<()> {
        self.clear_queues();
        begin_again(&**self.server()).await?;
        begin_again(&*self.pod).await?;
        let Some(scenario) = &self.scenario else {
            return Ok(());
        };
        self.server().begin(scenario.eks_agenda()).await?;
        self.pod.begin(scenario.pod_actions()).await
    }
}

/// Restores the state after the start, and drops pending events.
async fn begin_again(target: &impl Target) -> io::Result<()> {
    target.timeline().forget(|_any| true);
    let actions = [
        Action::SignWith(SigningKey::default()),
        Action::ForgetOldKeys,
        Action::IssuerOutage(false),
        Action::Listen,
        Action::Rotate,
    ];
    apply_now(target, &actions).await
}

async fn apply_now(target: &impl Target, actions: &[Action]) -> io::Result<()> {
    for action in actions {
        target.apply(action, target.now()).await?;
    }
    Ok(())
}
