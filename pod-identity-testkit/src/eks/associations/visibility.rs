use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::Gate;

/// When a change that was made through the associations API becomes visible: to EKS Auth, or to the API's own
/// calls that read.
///
/// "EKS Pod Identity associations are eventually consistent" (EKS user guide): the real service takes seconds.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_testkit::{Gate, Visibility};
///
/// let after_a_while: Visibility = Duration::from_secs(5).into();
/// let gate = Gate::new();
/// let when_the_test_says_so: Visibility = gate.clone().into();
/// # let _ = (after_a_while, when_the_test_says_so);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Visibility {
    /// With the answer to the change. The default, so that no test waits unless it chooses to.
    #[default]
    AtOnce,
    /// This long after the change, by the mock's clock.
    After(Duration),
    /// Once the gate has been released.
    Gate(Gate),
}

impl Visibility {
    pub(crate) fn of_change_at(&self, now: Timestamp) -> Due {
        match self {
            Self::AtOnce => Due::At(Timestamp::MIN),
            Self::After(time) => Due::At(now + *time),
            Self::Gate(gate) => Due::Gate(gate.clone()),
        }
    }
}

impl From<Duration> for Visibility {
    fn from(time: Duration) -> Self {
        Self::After(time)
    }
}

impl From<Gate> for Visibility {
    fn from(gate: Gate) -> Self {
        Self::Gate(gate)
    }
}

/// When one change becomes visible.
#[derive(Debug)]
pub(crate) enum Due {
    At(Timestamp),
    Gate(Gate),
}

impl Due {
    pub(crate) fn has_come(&self, now: Timestamp) -> bool {
        match self {
            Self::At(time) => *time <= now,
            Self::Gate(gate) => gate.is_released(),
        }
    }
}
