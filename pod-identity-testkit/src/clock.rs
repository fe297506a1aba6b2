use std::sync::Mutex;
use std::time::Duration;

use pod_identity_core::{Clock, Timestamp};

use crate::sync::lock;

/// A wall clock that stands still until it is set.
///
/// Share it in an `Arc`: one clone goes to what is tested as `Arc<dyn Clock>`, one stays with the test.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use pod_identity_core::{Clock, Timestamp};
/// use pod_identity_testkit::SettableClock;
///
/// let clock = Arc::new(SettableClock::at(Timestamp::from_unix_secs(1_772_366_400)));
/// let given_away: Arc<dyn Clock> = clock.clone();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(given_away.now(), Timestamp::from_unix_secs(1_772_366_460));
/// ```
#[derive(Debug)]
pub struct SettableClock(Mutex<Timestamp>);

impl SettableClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.0) = now;
    }

    /// Moves the clock forwards and returns what it shows then.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let mut now = lock(&self.0);
        *now = *now + by;
        *now
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}
