use std::fmt::Debug;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use pod_identity_core::{Clock, Timestamp};

use crate::sync::lock;

/// A wall clock that shows the same time until a test sets it.
///
/// Share it in an `Arc`: the code under test takes one clone as `Arc<dyn Clock>`, the test keeps another.
/// A token can [follow](crate::PodToken::follow) it, and is then refreshed when it is due.
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

/// Is notified whenever a clock is set.
pub(crate) trait Follower: Debug + Send + Sync {
    fn moved(&self, now: Timestamp);
}

impl SettableClock {
    /// Returns a clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Mutex::new(now),
            followers: Mutex::default(),
        }
    }

    /// Sets the clock to `now`, forwards or backwards, and returns when every follower has been notified.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.now) = now;
        self.tell(now);
    }

    /// Moves the clock forwards, as [`set`](Self::set) does, and returns the new time.
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

    /// Notifies the followers without holding the lock: they read this clock.
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
