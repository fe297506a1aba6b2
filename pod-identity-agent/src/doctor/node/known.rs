use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::SdkEksAuth;
use crate::doctor::surroundings::Surroundings;
use crate::tokens::key_ring::KeyRing;

/// What a walk on a node knows so far.
pub(super) struct Known {
    pub(super) around: Surroundings,
    pub(super) agent: Agent,
    pub(super) eks_auth: Arc<SdkEksAuth>,
    pub(super) has_cluster: bool,
    /// The sources of the cluster's keys; `None` if the agent is not to verify tokens.
    pub(super) keys: Option<KeyRing>,
    /// Whether EKS Auth can be connected to, with credentials.
    pub(super) may_ask: bool,
}

/// Where the agent of this node should listen.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) hosts: Vec<IpAddr>,
    pub(crate) port: u16,
    pub(crate) probes: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
}

impl Agent {
    /// The addresses of credentials.
    pub(super) fn credentials(&self) -> impl Iterator<Item = SocketAddr> {
        self.hosts
            .iter()
            .map(|host| SocketAddr::new(*host, self.port))
    }
}
