use std::time::Duration;

use crate::{Backoff, Timestamp, TokenBucket};

/// The pace at which a cache starts refreshes: a fixed rate while the service answers, and one at a time with
/// growing pauses during an outage.
///
/// Held sets are valid for hours, so in an outage a single attempt at a time is enough to find out whether the
/// service is back. The first answer returns to the fixed rate.
#[derive(Debug)]
pub(crate) struct RefreshPace {
    rate: TokenBucket,
    /// `Some` from the first attempt without an answer until the next answer.
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// Attempts since the outage began.
    attempts: u32,
    /// No attempt starts earlier.
    next_attempt: Timestamp,
}

impl RefreshPace {
    pub(crate) fn new(per_second: f64) -> Self {
        Self {
            rate: TokenBucket::new(1, per_second).with_slack(LATE_TIMERS),
            outage: None,
        }
    }

    /// Returns when the next refresh may start; `now` if it may already.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Timestamp {
        let outage = self.outage.as_ref().map(|outage| outage.next_attempt);
        self.rate.ready_at(now).max(outage.unwrap_or(now))
    }

    /// Takes permission to start a refresh now, and returns whether there was one. `fraction`, of 0..1, spreads the
    /// attempts of nodes that noticed an outage at the same time.
    pub(crate) fn try_take(&mut self, now: Timestamp, fraction: f64) -> bool {
        if now < self.ready_at(now) || !self.rate.try_take(now) {
            return false;
        }
        if let Some(outage) = &mut self.outage {
            // The attempt counts as failed until it is answered, because it may hang.
            outage.attempts = outage.attempts.saturating_add(1);
            outage.next_attempt = now + PAUSE.delay(outage.attempts, fraction);
        }
        true
    }

    /// Returns whether there is an outage.
    pub(crate) fn is_outage(&self) -> bool {
        self.outage.is_some()
    }

    /// Takes note that a refresh was not answered.
    pub(crate) fn failed(&mut self, now: Timestamp, fraction: f64) {
        // Failures of attempts that were in flight together count once.
        self.outage.get_or_insert_with(|| Outage {
            attempts: 1,
            next_attempt: now + PAUSE.delay(1, fraction),
        });
    }

    /// Takes note that the service has answered. A refusal is an answer, too.
    pub(crate) fn answered(&mut self) {
        self.outage = None;
    }

    /// Takes note that the wall clock was stepped back, so that the next refresh is not in the far future.
    pub(crate) fn notice_step(&mut self, now: Timestamp) {
        self.rate.notice_step(now);
        if let Some(outage) = &mut self.outage {
            outage.next_attempt = outage.next_attempt.min(now + LONGEST_PAUSE);
        }
    }
}

/// The pause between refreshes in an outage. The end of a short outage is noticed within seconds. In a long one,
/// 5,000 nodes make about 330 calls per second together. The pause does not delay a single set, which rests for up
/// to 30 s after a failure.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(2), LONGEST_PAUSE).with_jitter(0.5);

const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Timers fire some milliseconds late, which must not slow down the pace. The bucket also gains this much after a
/// quiet time, so the value is far below the time between two refreshes.
const LATE_TIMERS: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_outage_no_refresh_starts_before_the_pause_is_over_and_then_one() {
        let start = Timestamp::from_unix_secs(1_772_366_400);
        let at = |secs| start + Duration::from_secs(secs);
        let mut pace = RefreshPace::new(3.0);
        pace.failed(start, 1.0);
        let tried = [0, 1, 2, 3, 5, 6].map(|secs| pace.try_take(at(secs), 1.0));
        assert_eq!(tried, [false, false, true, false, false, true]);
        assert!(pace.is_outage());
        pace.answered();
        assert!(!pace.is_outage());
        assert!(pace.try_take(at(7), 1.0));
        assert!(pace.try_take(at(8), 1.0));
    }

    #[test]
    fn after_a_step_back_in_an_outage_the_pause_is_as_long_as_the_longest() {
        let start = Timestamp::from_unix_secs(1_772_366_400);
        let mut pace = RefreshPace::new(3.0);
        pace.failed(start, 1.0);
        let stepped = start - Duration::from_secs(3600);
        pace.notice_step(stepped);
        let at = |secs| stepped + Duration::from_secs(secs);
        let tried = [0, 19, 20, 21].map(|secs| pace.try_take(at(secs), 1.0));
        assert_eq!(tried, [false, false, true, false]);
    }

    #[test]
    fn a_clock_that_is_stepped_back_does_not_hold_up_refreshes() {
        let start = Timestamp::from_unix_secs(1_772_366_400);
        let mut pace = RefreshPace::new(3.0);
        while pace.try_take(start, 0.5) {}
        let hour_ago = start - Duration::from_secs(3600);
        pace.notice_step(hour_ago);
        assert!(!pace.try_take(hour_ago, 0.5), "what was spent is spent");
        assert!(pace.try_take(hour_ago + Duration::from_secs(1), 0.5));
    }
}
