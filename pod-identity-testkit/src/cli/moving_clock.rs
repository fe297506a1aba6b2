use std::sync::atomic::{AtomicI64, Ordering};

use pod_identity_core::{Clock, SystemClock, Timestamp};

/// The system's clock with an offset.
#[derive(Debug, Default)]
pub(super) struct MovingClock {
    /// Relaxed, because it publishes no other memory.
    ahead_millis: AtomicI64,
}

impl MovingClock {
    /// Moves the clock by this many seconds, backwards if negative, and returns the new time.
    pub(super) fn advance(&self, seconds: i64) -> Timestamp {
        let add = |ahead: i64| Some(ahead.saturating_add(seconds.saturating_mul(1_000)));
        // The function always returns a value, so the update cannot fail.
        let _before = self
            .ahead_millis
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        self.now()
    }

    /// Returns to the system's time.
    pub(super) fn reset(&self) {
        self.ahead_millis.store(0, Ordering::Relaxed);
    }
}

impl Clock for MovingClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_millis.load(Ordering::Relaxed);
        let now = SystemClock.now().as_unix_millis();
        Timestamp::from_unix_millis(now.saturating_add(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_continues_from_the_time_that_was_set() {
        let clock = MovingClock::default();
        let before = SystemClock.now().as_unix_millis();
        assert!(clock.advance(3_600).as_unix_millis() >= before + 3_600_000);
        clock.advance(-7_200);
        assert!(clock.now().as_unix_millis() < before);
        clock.reset();
        assert!(clock.now().as_unix_millis() >= before);
    }

    #[test]
    fn any_number_of_seconds_is_accepted() {
        let clock = MovingClock::default();
        assert_eq!(clock.advance(i64::MAX), Timestamp::MAX);
        assert_eq!(clock.advance(i64::MAX), Timestamp::MAX);
    }
}
