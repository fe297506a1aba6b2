//! The soak's clock, and what it counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_provider::{Clock, Event, FetchError, Observer, PodIdentityProvider, Timestamp};
use tokio::time::{Instant, sleep};

/// A wall clock that goes with tokio's, which is paused.
#[derive(Debug)]
pub(crate) struct Accelerated(Instant);

impl Accelerated {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for Accelerated {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(1_772_366_400) + self.0.elapsed()
    }
}

/// Counts events, and checks every call.
#[derive(Debug)]
pub(crate) struct Tally {
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_name: BTreeMap<&'static str, u64>,
    /// The real end of the newest set.
    expiration: Option<Timestamp>,
}

impl Tally {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        // Named from the start, because a zero must be shown.
        let by_name = BTreeMap::from([(FAILED, 0), (WAITED, 0)]);
        let counts = Mutex::new(Counts {
            by_name,
            expiration: None,
        });
        Arc::new(Self { clock, counts })
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.counts().by_name.entry(what).or_default() += 1;
    }

    /// Asks as an app does for a request every 7 s.
    pub(crate) async fn call_for(&self, time: Duration, provider: &PodIdentityProvider) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.call(provider).await;
            sleep(Duration::from_secs(7)).await;
        }
    }

    async fn call(&self, provider: &PodIdentityProvider) {
        // With less than 15 s left, a set counts as expired.
        let now = self.clock.now() + Duration::from_secs(15);
        let newest = self.counts().expiration;
        let valid = newest.is_some_and(|end| now < end);
        let asked = Instant::now();
        let answer = provider.credentials().await;
        let waited = asked.elapsed();
        self.count("calls");
        match answer {
            Ok(_) if valid && waited.is_zero() => {}
            Ok(_) if valid => self.count(WAITED),
            Ok(_) if newest.is_none() => self.count("calls that waited for the first set"),
            Ok(_) => self.count("calls that were given an expired set, for want of another"),
            Err(_) if valid => self.count(FAILED),
            Err(_) => self.count("calls that failed for want of a valid set"),
        }
    }

    /// Sleeps until so long before the next refresh.
    pub(crate) async fn before_refresh(&self, provider: &PodIdentityProvider, by: Duration) {
        loop {
            if let Some(next) = provider.state().next_refresh {
                let left = next.saturating_since(self.clock.now());
                return sleep(left.saturating_sub(by)).await;
            }
            sleep(Duration::from_secs(60)).await;
        }
    }

    /// Whether it went as it has to.
    pub(crate) fn verdict(&self) -> Result<(), Box<dyn std::error::Error>> {
        let counts = self.counts();
        let count = |what| counts.by_name.get(what).copied().unwrap_or_default();
        match (count(FAILED), count(WAITED), count(FETCHED)) {
            (0, 0, 100..) => Ok(()),
            (0, 0, fetched) => Err(format!("only {fetched} {FETCHED}").into()),
            (failed, waited, _) => Err(format!("{failed} {FAILED}, {waited} {WAITED}").into()),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Tally {
    fn observe(&self, event: &Event) {
        match event {
            Event::Refreshed { expiration, .. } => {
                self.counts().expiration = Some(*expiration);
                self.count(FETCHED);
            }
            Event::NoProgress { .. } => self.count("attempts without progress"),
            Event::Failed { error, .. } => self.count(match error {
                FetchError::Unreachable { .. } => "attempts at an agent that was down",
                FetchError::Refused { .. } => "attempts that were refused",
                _ => "attempts that failed in another way",
            }),
            _ => {}
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts().by_name {
            writeln!(f, "{count:>8} {what}")?;
        }
        Ok(())
    }
}

const FAILED: &str = "calls that failed while a valid set existed";
const FETCHED: &str = "sets fetched";
const WAITED: &str = "calls that waited while a valid set existed";
