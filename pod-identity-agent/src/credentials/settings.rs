use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{CacheLimits, RefreshPolicy};

use crate::credentials::rate_limit::Budget;
use crate::kubernetes::gone_pods::GonePods;
use crate::node::addresses::NodeAddresses;

/// Settings of a [`CredentialCache`](super::cache::CredentialCache); [`AgentBuilder`](crate::AgentBuilder) documents them.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) audience: String,
    /// How long a client waits for EKS Auth.
    pub(crate) max_wait: Duration,
    pub(crate) policy: RefreshPolicy,
    pub(crate) limits: CacheLimits,
    pub(crate) pod_budget: Budget,
    pub(crate) node_budget: Budget,
    pub(crate) node_addresses: NodeAddresses,
    /// Whose credentials are not refreshed any more.
    pub(crate) gone_pods: Arc<GonePods>,
    /// Whether the audit has the first use of a token by each other source than its first.
    pub(crate) audit_hits: bool,
    pub(crate) seed: u64,
}

impl Settings {
    /// The defaults. The seed drives the jitter.
    pub(crate) fn new(seed: u64) -> Self {
        let mut limits = CacheLimits::default();
        limits.empty = PLACES_WITHOUT_CREDENTIALS;
        Self {
            audience: DEFAULT_AUDIENCE.to_owned(),
            max_wait: DEFAULT_ANSWER_WITHIN,
            policy: RefreshPolicy::agent(),
            limits,
            pod_budget: Budget::POD,
            node_budget: Budget::NODE,
            node_addresses: NodeAddresses::loopback(),
            gone_pods: Arc::default(),
            audit_hits: false,
            seed,
        }
    }
}

/// More than the sets that are held by default, so that all of their pods have a place after a restart. With a place, an
/// exchange follows although the client has given up; without one, the client has to come when a place is free.
const PLACES_WITHOUT_CREDENTIALS: usize = 2048;

/// The audience of Pod Identity tokens.
pub(crate) const DEFAULT_AUDIENCE: &str = "pods.eks.amazonaws.com";

/// The least patient SDKs give up after 1 s.
pub(crate) const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_millis(900);
