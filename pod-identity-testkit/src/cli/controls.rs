use std::future::Future;
use std::io;
use std::sync::Arc;

use pod_identity_core::Clock;
use serde_json::Value;

use super::pod_volume::PodVolume;
use super::report;
use crate::eks::operation_faults::AllFaults;
use crate::fault::queue::Faults;
use crate::scenario::timeline::{Deed, Staged, Timeline};
use crate::scenario::{Order, Orderable, Queues};
use crate::{AgentFault, Fault, MockAgent, MockEksAuth, Scenario, SigningKey};

/// What can be done to a mock from outside. What fails does so because the token cannot be written, or
/// somebody else has taken the port.
pub(super) trait Controls: Send + Sync + 'static {
    type Fault: Orderable;
    type Queues: Queues<Self::Fault>;

    fn inject(&self, order: &Order<Self::Fault>) -> impl Future<Output = io::Result<()>> + Send;

    fn clear_faults(&self) -> impl Future<Output = io::Result<()>> + Send;

    fn faults(&self) -> &Self::Queues;

    /// Every request since the start, without secrets.
    fn requests(&self) -> Vec<Value>;

    /// Projects a new token.
    fn rotate(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Does what the scenario has up to now.
    fn catch_up(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Begins anew, with the scenario.
    fn reset(&self) -> impl Future<Output = io::Result<()>> + Send;
}

#[derive(Debug)]
pub(super) struct AgentControls {
    pub(super) agent: MockAgent,
    pub(super) scenario: Option<Scenario>,
}

impl Controls for AgentControls {
    type Fault = AgentFault;
    type Queues = Faults<AgentFault>;

    async fn inject(&self, order: &Order<AgentFault>) -> io::Result<()> {
        inject(&self.agent.server, self.faults(), order).await
    }

    async fn clear_faults(&self) -> io::Result<()> {
        clear(&*self.agent.server, self.faults()).await
    }

    fn faults(&self) -> &Faults<AgentFault> {
        &self.agent.server.service().faults
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.agent.secrets();
        let requests = self.agent.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::of_agent(request, &secrets))
            .collect()
    }

    async fn rotate(&self) -> io::Result<()> {
        do_now(&*self.agent.server, &[Deed::Rotate]).await
    }

    async fn catch_up(&self) -> io::Result<()> {
        self.agent.catch_up().await
    }

    async fn reset(&self) -> io::Result<()> {
        let server = &self.agent.server;
        self.faults().clear();
        begin_again(&**server).await?;
        let steps = self.scenario.as_ref();
        let steps = steps.map(|scenario| scenario.begin_agent(server.service()));
        Timeline::add(server, steps.unwrap_or_default()).await
    }
}

#[derive(Debug)]
pub(super) struct EksControls {
    pub(super) eks: MockEksAuth,
    pub(super) pod: Arc<PodVolume>,
    pub(super) scenario: Option<Scenario>,
}

impl Controls for EksControls {
    type Fault = Fault;
    type Queues = AllFaults;

    async fn inject(&self, order: &Order<Fault>) -> io::Result<()> {
        inject(&self.eks.server, self.faults(), order).await
    }

    async fn clear_faults(&self) -> io::Result<()> {
        clear(&*self.eks.server, self.faults()).await
    }

    fn faults(&self) -> &AllFaults {
        &self.eks.service().faults
    }

    fn requests(&self) -> Vec<Value> {
        let secrets = self.eks.secrets();
        let requests = self.eks.requests();
        let requests = requests.iter();
        requests
            .map(|request| report::of_eks(request, &secrets))
            .collect()
    }

    async fn rotate(&self) -> io::Result<()> {
        do_now(&*self.pod, &[Deed::Rotate]).await
    }

    async fn catch_up(&self) -> io::Result<()> {
        // The keys before the token that they sign.
        self.eks.catch_up().await?;
        Timeline::catch_up(&*self.pod).await.map(drop)
    }

    async fn reset(&self) -> io::Result<()> {
        let server = &self.eks.server;
        self.faults().clear();
        begin_again(&**server).await?;
        begin_again(&*self.pod).await?;
        let Some(scenario) = &self.scenario else {
            return Ok(());
        };
        Timeline::add(server, scenario.begin_eks(server.service())).await?;
        let steps = scenario.begin_pod(self.pod.clock.now());
        Timeline::add(&self.pod, steps).await
    }
}

async fn inject<S: Staged, F: Orderable>(
    server: &Arc<S>,
    faults: &impl Queues<F>,
    order: &Order<F>,
) -> io::Result<()> {
    Timeline::add(server, order.inject(faults, server.now())).await
}

async fn clear<F: Orderable>(server: &impl Staged, faults: &impl Queues<F>) -> io::Result<()> {
    faults.clear();
    let is_of_fault = |deed: &Deed| matches!(deed, Deed::Refuse | Deed::Listen);
    server.timeline().forget(is_of_fault).await;
    do_now(server, &[Deed::Listen]).await
}

/// As after the start, without what was still to come.
async fn begin_again(staged: &impl Staged) -> io::Result<()> {
    staged.timeline().forget(|_any| true).await;
    let deeds = [
        Deed::SignWith(SigningKey::default()),
        Deed::ForgetOldKeys,
        Deed::IssuerOutage(false),
        Deed::Listen,
        Deed::Rotate,
    ];
    do_now(staged, &deeds).await
}

async fn do_now(staged: &impl Staged, deeds: &[Deed]) -> io::Result<()> {
    for deed in deeds {
        staged.happen(deed, staged.now()).await?;
    }
    Ok(())
}
