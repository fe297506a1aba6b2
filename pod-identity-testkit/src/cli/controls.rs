use std::future::Future;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::cluster_controls::ClusterControls;
use super::pod_volume::PodVolume;
use super::report;
use crate::agent::service::AgentService;
use crate::eks::service::EksAuthService;
use crate::expect::seen::Seen;
use crate::fault::error::FaultError;
use crate::mock::action::Action;
use crate::mock::handle::Handle;
use crate::mock::mock::Mock;
use crate::mock::mock_server::MockServer;
use crate::mock::timeline::{Target, Timeline};
use crate::record::recorder::Kept;
use crate::scenario::expected::{Expected, Kind};
use crate::sync::lock;
use crate::{Fault, MockAgent, MockEksAuth, Scenario, SigningKey};

/// The controls of a mock that the admin endpoint offers. They fail if the token cannot be written, or if
/// another process has taken the port.
pub(super) trait Controls: Send + Sync + 'static {
    type Mock: Mock<Record: Seen>;

    const KIND: Kind;

    fn handle(&self) -> &Handle<Self::Mock>;

    /// Adds expectations that were checked for this mock.
    fn expect(&self, expected: &Expected);

    /// The AWS side of a cluster, if this is one.
    fn cluster(&self) -> Option<ClusterControls<'_>> {
        None
    }

    /// The requests since the last were dropped, without secrets.
    fn requests(&self) -> Kept<Value>;

    /// Projects a new token.
    fn rotate(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Applies the events of the scenario up to now.
    fn catch_up(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Restores the state after the start, and starts the scenario again.
    fn reset(&self) -> impl Future<Output = io::Result<()>> + Send;

    fn server(&self) -> &Arc<MockServer<Self::Mock>> {
        &self.handle().server
    }

    fn service(&self) -> &Arc<Self::Mock> {
        self.server().service()
    }

    fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        let server = self.server();
        server.inject(fault, server.now())
    }

    fn clear_faults(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.service().faults().clear();
        let server = &**self.server();
        let is_of_fault = |action: &Action| {
            matches!(
                action,
                Action::Refuse(_) | Action::Ignore(_) | Action::Listen
            )
        };
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

    const KIND: Kind = Kind::Agent;

    fn handle(&self) -> &Handle<AgentService> {
        &self.agent.handle
    }

    fn expect(&self, expected: &Expected) {
        expected.of_agent(&self.agent.handle.expectations);
    }

    fn requests(&self) -> Kept<Value> {
        let kept = self.handle().recorder().kept();
        let secrets = report::Secrets::new(self.agent.secrets());
        kept.map(|request| report::agent_request(request, &secrets))
    }

    async fn rotate(&self) -> io::Result<()> {
        apply_now(&**self.server(), &[Action::Rotate]).await
    }

    async fn catch_up(&self) -> io::Result<()> {
        self.agent.catch_up().await
    }

    async fn reset(&self) -> io::Result<()> {
        begin_again(&**self.server()).await?;
        let Some(scenario) = &self.scenario else {
            return Ok(());
        };
        *lock(&self.agent.handle.expectations) = scenario.agent_expectations();
        self.server().begin(scenario.agent_agenda()).await
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

    const KIND: Kind = Kind::Eks;

    fn handle(&self) -> &Handle<EksAuthService> {
        &self.eks.handle
    }

    fn expect(&self, expected: &Expected) {
        expected.of_eks(&self.eks.handle.expectations);
    }

    fn cluster(&self) -> Option<ClusterControls<'_>> {
        Some(ClusterControls(&self.eks))
    }

    fn requests(&self) -> Kept<Value> {
        let kept = self.handle().recorder().kept();
        let secrets = report::Secrets::new(self.eks.secrets());
        kept.map(|request| report::eks_request(request, &secrets))
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
        begin_again(&**self.server()).await?;
        begin_again(&*self.pod).await?;
        let Some(scenario) = &self.scenario else {
            return Ok(());
        };
        *lock(&self.eks.handle.expectations) = scenario.eks_expectations();
        self.server().begin(scenario.eks_agenda()).await?;
        self.pod.begin(scenario.pod_actions()).await
    }
}

/// The webhook has no token, no timeline and no scenario.
#[cfg(feature = "webhook")]
#[derive(Debug)]
pub(super) struct WebhookControls(pub(super) crate::MockWebhook);

#[cfg(feature = "webhook")]
impl Controls for WebhookControls {
    type Mock = crate::webhook::WebhookService;

    const KIND: Kind = Kind::Webhook;

    fn handle(&self) -> &Handle<crate::webhook::WebhookService> {
        &self.0.handle
    }

    fn expect(&self, expected: &Expected) {
        let mut all = expected.common(self.0.expect());
        if expected.patched {
            all = all.patched();
        }
        expected.end(all);
    }

    fn requests(&self) -> Kept<Value> {
        self.handle().recorder().kept().map(report::webhook_request)
    }

    async fn rotate(&self) -> io::Result<()> {
        let words = "the webhook has no token of its own";
        Err(io::Error::new(io::ErrorKind::Unsupported, words))
    }

    async fn catch_up(&self) -> io::Result<()> {
        self.0.catch_up().await
    }

    async fn reset(&self) -> io::Result<()> {
        begin_again(&**self.server()).await
    }
}

/// Restores what was at the start, and drops what was still to come.
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
