use std::fmt::Debug;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use pod_identity_core::{Clock, Timestamp};

use crate::sync::lock;

/// A wall clock that stands still until it is set.
///
/// Share it in an `Arc`: one clone goes to what is tested as `Arc<dyn Clock>`, one stays with the test.
/// Tokens may [follow](crate::PodToken::follow) it: they are refreshed when their time has come.
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
pub struct SettableClock {
    now: Mutex<Timestamp>,
    followers: Mutex<Vec<Weak<dyn Follower>>>,
}

/// What does something when a clock is moved.
pub(crate) trait Follower: Debug + Send + Sync {
    fn moved(&self, now: Timestamp);
}

impl SettableClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Mutex::new(now),
            followers: Mutex::default(),
        }
    }

    /// Moves the clock to `now`, forwards or backwards, and returns when every follower has taken notice.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.now) = now;
        self.tell(now);
    }

    /// Moves the clock forwards, as [`set`](Self::set) does, and returns what it shows then.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let now = {
            let mut now = lock(&self.now);
            *now = *now + by;
            *now
        };
        self.tell(now);
        now
    }

    pub(crate) fn lead(&self, follower: Weak<dyn Follower>) {
        lock(&self.followers).push(follower);
    }

    /// Without the lock while they act.
    fn tell(&self, now: Timestamp) {
        let followers: Vec<Arc<dyn Follower>> = {
            let mut followers = lock(&self.followers);
            followers.retain(|follower| follower.strong_count() > 0);
            followers.iter().filter_map(Weak::upgrade).collect()
        };
        for follower in followers {
            follower.moved(now);
        }
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        *lock(&self.now)
    }
}
