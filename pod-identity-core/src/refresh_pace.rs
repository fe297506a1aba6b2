use std::time::Duration;

use crate::{Backoff, Timestamp, TokenBucket};

/// When a cache may start its next refresh: at a fixed rate while the service answers, one at a time after
/// growing pauses while it does not.
///
/// What is held lasts for hours, so a service that is down need not be asked for each set. One attempt finds
/// out as well as thirty whether it is back, and the first answer lets all others follow at the usual rate.
#[derive(Debug)]
pub(crate) struct RefreshPace {
    rate: TokenBucket,
    /// Present from the first attempt that was not answered until one is.
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// Attempts since it began.
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

    /// When the next refresh may start; `now` if it may already.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Timestamp {
        let outage = self.outage.as_ref().map(|outage| outage.next_attempt);
        self.rate.ready_at(now).max(outage.unwrap_or(now))
    }

    /// Takes the right to start a refresh now, if there is one. The fraction, of 0..1, spreads the attempts of
    /// many nodes that noticed an outage together.
    pub(crate) fn try_take(&mut self, now: Timestamp, fraction: f64) -> bool {
        if now < self.ready_at(now) || !self.rate.try_take(now) {
            return false;
        }
        if let Some(outage) = &mut self.outage {
            // It counts as failed until it is answered: it may hang, and the next one is not to follow at once.
            outage.attempts = outage.attempts.saturating_add(1);
            outage.next_attempt = now + PAUSE.delay(outage.attempts, fraction);
        }
        true
    }

    /// Whether the service does not answer, as far as is known.
    pub(crate) fn is_outage(&self) -> bool {
        self.outage.is_some()
    }

    /// A refresh was not answered.
    pub(crate) fn failed(&mut self, now: Timestamp, fraction: f64) {
        // Those that were in flight together are one sign of an outage.
        self.outage.get_or_insert_with(|| Outage {
            attempts: 1,
            next_attempt: now + PAUSE.delay(1, fraction),
        });
    }

    /// The service answered, if only to refuse.
    pub(crate) fn answered(&mut self) {
        self.outage = None;
    }

    /// The wall clock was stepped back: what was to come soon must not be in the far future.
    pub(crate) fn notice_step(&mut self, now: Timestamp) {
        if let Some(outage) = &mut self.outage {
            outage.next_attempt = outage.next_attempt.min(now + LONGEST_PAUSE);
        }
    }
}

/// Between refreshes in an outage. Short outages are noticed to be over within seconds. In long ones, 5,000
/// nodes make about 330 calls per second together; the pause is not what delays a lone set, because a set rests
/// for up to 30 s after a failure.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(2), LONGEST_PAUSE).with_jitter(0.5);

const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Timers fire late by some milliseconds; that does not slow the pace down. The bucket also holds this much
/// after a quiet time, so it stays far below the pause between two refreshes.
const LATE_TIMERS: Duration = Duration::from_millis(15);
