use std::sync::Arc;

use pod_identity_core::{Clock, Timestamp};
use pod_identity_testkit::SettableClock;
use tokio::time::Instant;

/// A clock that a test sets and that, where it flows, goes on with tokio's time, which may be paused.
#[derive(Debug)]
pub(crate) struct Wall {
    pub(crate) set: Arc<SettableClock>,
    since: Option<Instant>,
}

impl Wall {
    pub(crate) fn standing(now: Timestamp) -> Self {
        Self {
            set: Arc::new(SettableClock::at(now)),
            since: None,
        }
    }

    pub(crate) fn flowing(now: Timestamp) -> Self {
        Self {
            since: Some(Instant::now()),
            ..Self::standing(now)
        }
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let passed = self.since.map(|since| since.elapsed());
        self.set.now() + passed.unwrap_or_default()
    }
}
