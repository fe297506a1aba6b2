use std::time::Duration;

use pod_identity_core::Timestamp;

/// What happens to a fleet.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Pods begin within this time.
    pub(super) begins_within: Duration,
    /// The part of the run that is reported.
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) outage: Option<(Duration, Duration)>,
    /// The clocks of all nodes are so much ahead.
    pub(super) step: Option<(Duration, Duration, Duration)>,
    /// All agents are replaced, a tenth at a time.
    pub(super) upgrade: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Agents {
    Ours,
    Official,
}

pub(super) const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
/// The whole fleet. A run may take a sample of it, before a limit that is so much lower.
pub(super) const NODES: usize = 5000;
pub(super) const PODS_PER_NODE: usize = 30;
/// What EKS Auth grants the account of the whole fleet.
pub(super) const EXCHANGES_PER_SECOND: f64 = 500.0;
/// A tenth of the agents is replaced each minute.
pub(super) const UPGRADE_STEP: Duration = MINUTE;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const STEADY: Scenario = Scenario {
    name: "",
    title: "",
    begins_within: HOUR.saturating_mul(3),
    from: HOUR.saturating_mul(6),
    to: HOUR.saturating_mul(12),
    outage: None,
    step: None,
    upgrade: None,
};

pub(super) static SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "restart",
        title: "All nodes and pods start within half a minute",
        begins_within: Duration::from_secs(30),
        from: Duration::ZERO,
        to: HOUR.saturating_mul(7),
        ..STEADY
    },
    Scenario {
        name: "outage",
        title: "EKS Auth is down for an hour",
        outage: Some((HOUR.saturating_mul(7), HOUR.saturating_mul(8))),
        ..STEADY
    },
    Scenario {
        name: "outage-across-refresh",
        title: "All pods started within five minutes, and EKS Auth is down for three hours when they are due",
        begins_within: MINUTE.saturating_mul(5),
        from: HOUR,
        to: HOUR.saturating_mul(8),
        outage: Some((MINUTE.saturating_mul(150), MINUTE.saturating_mul(330))),
        ..STEADY
    },
    Scenario {
        name: "clock-step",
        title: "The clocks of all nodes are an hour ahead for an hour",
        step: Some((HOUR.saturating_mul(7), HOUR.saturating_mul(8), HOUR)),
        ..STEADY
    },
    Scenario {
        name: "upgrade",
        title: "All agents are replaced, a tenth of them each minute",
        upgrade: Some(HOUR.saturating_mul(7)),
        ..STEADY
    },
];
