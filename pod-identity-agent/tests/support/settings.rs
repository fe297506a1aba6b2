use std::net::IpAddr;
use std::time::Duration;

use pod_identity_agent::{AgentBuilder, Budget};
use pod_identity_core::{CacheLimits, RefreshPolicy};

use super::{HOUR, SOON};

/// The settings of a scene's agent, all of which its command line has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) answer_within: Duration,
    pub(crate) retention: Duration,
    pub(crate) max_cache_size: usize,
    pub(crate) pod_budget: Budget,
    /// Another address to serve credentials at.
    pub(crate) also_at: Option<IpAddr>,
    /// Whether it verifies tokens with the keys of the mock's issuer.
    pub(crate) is_verifying: bool,
}

impl Settings {
    /// The settings of the program without flags.
    pub(crate) const DEFAULT: Self = Self {
        answer_within: Duration::from_millis(900),
        retention: Duration::from_secs(3 * HOUR.as_secs()),
        max_cache_size: 2000,
        pod_budget: Budget::POD,
        also_at: None,
        is_verifying: false,
    };

    /// A busy machine must not cause a 503, except in tests about it.
    pub(crate) const PATIENT: Self = Self {
        answer_within: SOON,
        ..Self::DEFAULT
    };

    /// Clients that time out soon: long after EKS Auth has answered, even on a busy machine, and before the half
    /// second in which the budget of a pod grows by one.
    pub(crate) const IMPATIENT: Self = Self {
        answer_within: Duration::from_millis(300),
        ..Self::DEFAULT
    };

    /// Compares everything but the address.
    pub(crate) fn apply_to(&self, agent: AgentBuilder) -> AgentBuilder {
        let mut limits = CacheLimits::default();
        limits.held = self.max_cache_size;
        agent
            .answer_within(self.answer_within)
            .policy(RefreshPolicy::agent().with_retention(self.retention))
            .limits(limits)
            // Pods of tests have addresses of loopback.
            .node_addresses([])
            .pod_budget(self.pod_budget)
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let Budget {
            burst, per_second, ..
        } = self.pod_budget;
        let mut flags = vec![
            format!("--answer-within={}ms", self.answer_within.as_millis()),
            format!(
                "--max-credential-retention-before-renewal={}s",
                self.retention.as_secs()
            ),
            format!("--max-cache-size={}", self.max_cache_size),
            format!("--pod-budget={burst}/{per_second}"),
        ];
        flags.extend(
            self.also_at
                .map(|address| format!("--bind-hosts={address}")),
        );
        flags
    }
}
