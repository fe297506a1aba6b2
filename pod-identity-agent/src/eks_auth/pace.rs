use std::collections::VecDeque;
use std::time::Duration;

use pod_identity_core::{Timestamp, TokenBucket};

/// The pace of exchanges with EKS Auth: unlimited until the first throttled one, then a rate that converges to
/// what the service grants.
///
/// It uses additive increase and multiplicative decrease, as TCP does: each second at the full rate adds
/// [`INCREASE_PER_SECOND`], a throttled exchange multiplies the rate by [`DECREASE_FACTOR`]. Three things differ.
/// An answer adds at most a share of the rate, [`LARGEST_INCREASE`]: the limit is one of the account, and a node among
/// thousands may find less than one exchange per second.
/// Throttled exchanges that were in flight together count once. And the rate never falls below what was granted
/// in the last second: a service with a limit per second throttles all further calls of that second, which says
/// nothing about the next one. A `retry-after` of the service applies to every token.
#[derive(Debug)]
pub(crate) struct UpstreamPace {
    rate: Option<Rate>,
    /// When exchanges of the last second were answered, the oldest first; bounded.
    granted: VecDeque<Timestamp>,
    quiet_until: Timestamp,
}

#[derive(Debug)]
struct Rate {
    per_second: f64,
    /// Lets one exchange start at a time: a burst would be throttled.
    bucket: TokenBucket,
    found_at: Timestamp,
    decreased_at: Timestamp,
}

impl UpstreamPace {
    pub(crate) fn new() -> Self {
        Self {
            rate: None,
            granted: VecDeque::new(),
            quiet_until: Timestamp::MIN,
        }
    }

    /// Checks that an exchange may start now, or fails with the time to check again.
    pub(crate) fn ready(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.notice_step(now);
        if let Some(rate) = &mut self.rate
            && rate.per_second < FIRST_RATE
            && rate.decreased_at + THROTTLING_IS_OVER < now
        {
            rate.set(now, FIRST_RATE);
        }
        let ready_at = match &self.rate {
            Some(rate) => rate.bucket.ready_at(now),
            None => now,
        };
        match ready_at.max(self.quiet_until) {
            later if now < later => Err(later),
            _ => Ok(()),
        }
    }

    /// Records an exchange that starts.
    pub(crate) fn started(&mut self, now: Timestamp) {
        if let Some(rate) = &mut self.rate {
            rate.bucket.reserve(now, Duration::MAX);
        }
    }

    /// Records an exchange that was answered and not throttled.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        self.granted.push_back(now);
        if self.granted.len() > UNLIMITED as usize {
            self.granted.pop_front();
        }
        let granted = match &self.rate {
            // The first throttle may come before the answers of exchanges that were granted along with it.
            Some(rate) if now < rate.found_at + SECOND => self.granted_lately(now).0,
            _ => 0.0,
        };
        if let Some(rate) = &mut self.rate {
            let per_second = rate.per_second.max(granted);
            // Each answer adds its share, so that a second at the full rate adds the increase.
            let share = INCREASE_PER_SECOND / per_second;
            rate.set(now, per_second + share.min(per_second * LARGEST_INCREASE));
            if rate.per_second > UNLIMITED {
                self.rate = None;
            }
        }
    }

    /// Records that an exchange, which started at `began`, was throttled.
    pub(crate) fn throttled(
        &mut self,
        began: Timestamp,
        now: Timestamp,
        retry_after: Option<Duration>,
    ) {
        let hint = retry_after.unwrap_or_default().min(LONGEST_QUIET);
        self.quiet_until = self.quiet_until.max(now + hint);
        let (granted, began_granting) = self.granted_lately(now);
        match &mut self.rate {
            None => {
                let per_second = granted.max(FIRST_RATE);
                let mut rate = Rate::new(now, per_second);
                // The calls that the service grants in this second are used up.
                let next = (now + rate.pause()).max(began_granting + SECOND);
                rate.bucket.block_until(now, next);
                self.rate = Some(rate);
            }
            // An exchange that began before the last decrease says nothing about the rate after it; nor does
            // one that began in the same millisecond.
            Some(rate) if rate.decreased_at < began => {
                let decreased = (rate.per_second * DECREASE_FACTOR).max(granted);
                let per_second = decreased.min(rate.per_second * MINIMUM_DECREASE);
                rate.set(now, per_second.max(MINIMUM_RATE));
                rate.decreased_at = now;
                rate.bucket.block_until(now, now + rate.pause());
            }
            Some(_) => {}
        }
    }

    /// Returns the number of exchanges answered in the last second, and the time of the first.
    fn granted_lately(&mut self, now: Timestamp) -> (f64, Timestamp) {
        self.granted.retain(|at| now < *at + SECOND && *at <= now);
        let first = self.granted.front().copied();
        (self.granted.len() as f64, first.unwrap_or(Timestamp::MIN))
    }

    /// Returns the time until which the service asks not to be called.
    pub(crate) fn quiet_for(&self, now: Timestamp) -> Duration {
        self.quiet_until.saturating_since(now).min(LONGEST_QUIET)
    }

    /// Returns the limit in exchanges per second, if there is one.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.rate.as_ref().map(|rate| rate.per_second)
    }

    /// The wall clock can be stepped back. Recorded times must then not be in the far future, and a pause that is over
    /// must not begin again.
    fn notice_step(&mut self, now: Timestamp) {
        self.quiet_until = match self.quiet_until {
            over if over <= now => Timestamp::MIN,
            until => until.min(now + LONGEST_QUIET),
        };
        if let Some(rate) = &mut self.rate {
            rate.found_at = rate.found_at.min(now);
            rate.decreased_at = rate.decreased_at.min(now);
            rate.bucket.notice_step(now);
        }
    }
}

impl Rate {
    fn new(now: Timestamp, per_second: f64) -> Self {
        Self {
            per_second,
            bucket: TokenBucket::new(1, per_second).with_slack(SLACK),
            found_at: now,
            decreased_at: now,
        }
    }

    fn set(&mut self, now: Timestamp, per_second: f64) {
        self.per_second = per_second;
        self.bucket.set_rate(now, per_second);
    }

    fn pause(&self) -> Duration {
        SECOND.div_f64(self.per_second)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Starts that were missed because a timer fired late are made up for up to this much.
const SLACK: Duration = Duration::from_millis(50);

/// Additive increase: what a second at the full rate adds, in exchanges per second.
const INCREASE_PER_SECOND: f64 = 2.0;

/// What an answer adds at most, as a share of the rate.
const LARGEST_INCREASE: f64 = 0.5;

/// Multiplicative decrease: what a throttle leaves of the rate.
const DECREASE_FACTOR: f64 = 0.7;

/// The same where more was granted in the last second: a throttle always lowers the rate a little.
const MINIMUM_DECREASE: f64 = 0.95;

/// The rate after the first throttle, in exchanges per second, if no more were granted.
const FIRST_RATE: f64 = 2.0;

/// After so long without a throttle the rate is at least [`FIRST_RATE`] again, also if nothing was asked for.
const THROTTLING_IS_OVER: Duration = Duration::from_secs(60);

/// The rate never falls below this, in exchanges per second. In a fleet of 5,000 nodes that together get 500 per second,
/// 1.0 had nine of ten exchanges throttled for as long as all had work, and 0.2 has two of three; lower rates let
/// some nodes wait for longer than the others. A node at this rate that goes on asking is back at one exchange per
/// second within 15 s of the last throttle.
const MINIMUM_RATE: f64 = 0.2;

/// Above this rate there is no limit any more: no node needs more exchanges per second.
const UNLIMITED: f64 = 500.0;

/// The longest `retry-after` that is honoured.
const LONGEST_QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const MILLI: Duration = Duration::from_millis(1);

    fn start(pace: &mut UpstreamPace, now: Timestamp) -> Result<(), Timestamp> {
        pace.ready(now)?;
        pace.started(now);
        Ok(())
    }

    #[test]
    fn there_is_no_limit_before_the_first_throttle() {
        let mut pace = UpstreamPace::new();
        assert!((0..1000).all(|_| start(&mut pace, START).is_ok()));
        assert_eq!(pace.limit(), None);
    }

    #[test]
    fn throttled_calls_that_were_in_flight_together_cut_the_rate_once() {
        let mut pace = UpstreamPace::new();
        for _ in 0..20 {
            pace.answered(START);
        }
        for _ in 0..12 {
            pace.throttled(START, START + 50 * MILLI, None);
        }
        assert_eq!(pace.limit(), Some(20.0), "the rate that was granted");
        pace.throttled(START + 60 * MILLI, START + 90 * MILLI, None);
        assert_eq!(
            pace.limit(),
            Some(19.0),
            "20 have been granted in this second"
        );
        pace.throttled(START + 2 * SECOND, START + 2 * SECOND, None);
        assert_eq!(pace.limit(), Some(19.0 * DECREASE_FACTOR));
    }

    #[test]
    fn calls_of_one_second_do_not_exceed_what_the_service_granted() {
        let mut pace = UpstreamPace::new();
        for _ in 0..20 {
            pace.answered(START);
        }
        pace.throttled(START, START + 20 * MILLI, None);
        assert_eq!(pace.ready(START + 30 * MILLI), Err(START + SECOND));
        assert_eq!(pace.ready(START + SECOND), Ok(()));
    }

    #[test]
    fn calls_granted_after_a_throttled_one_still_count() {
        let mut pace = UpstreamPace::new();
        pace.answered(START);
        pace.throttled(START, START + 10 * MILLI, None);
        assert_eq!(pace.limit(), Some(FIRST_RATE));
        for _ in 0..19 {
            pace.answered(START + 20 * MILLI);
        }
        let limit = pace.limit().unwrap();
        assert!((20.0..=22.0).contains(&limit), "{limit}");
    }

    #[test]
    fn simultaneous_throttled_calls_cut_the_rate_once() {
        let mut pace = UpstreamPace::new();
        for _ in 0..20 {
            pace.answered(START);
        }
        for _ in 0..12 {
            pace.throttled(START, START, None);
        }
        assert_eq!(pace.limit(), Some(20.0));
    }

    #[test]
    fn the_rate_is_what_was_granted_in_less_than_a_second_and_at_most_500() {
        for (answers, millis, limit) in [(20, 999, 20.0), (20, 1000, FIRST_RATE), (600, 999, 500.0)]
        {
            let mut pace = UpstreamPace::new();
            for _ in 0..answers {
                pace.answered(START);
            }
            let throttled = START + millis * MILLI;
            pace.throttled(throttled, throttled, None);
            assert_eq!(pace.limit(), Some(limit), "{answers} within {millis} ms");
        }
    }

    #[test]
    fn a_retry_hint_applies_to_all_sources() {
        let mut pace = UpstreamPace::new();
        pace.throttled(START, START, Some(2 * SECOND));
        assert_eq!(pace.ready(START + SECOND), Err(START + 2 * SECOND));
        assert_eq!(pace.ready(START + 2 * SECOND), Ok(()));
        pace.throttled(START, START + 3 * SECOND, Some(Duration::from_secs(86_400)));
        assert!(
            pace.ready(START + 70 * SECOND).is_ok(),
            "an absurd hint ends"
        );
        assert!(
            pace.ready(START - 3600 * SECOND)
                .is_err_and(|at| at < START),
            "and so does a step"
        );
    }

    #[test]
    fn a_clock_that_is_stepped_back_does_not_hold_up_exchanges_after_a_throttled_one() {
        let mut pace = UpstreamPace::new();
        pace.throttled(START, START, Some(SECOND));
        assert_eq!(pace.ready(START + SECOND), Ok(()));
        pace.started(START + SECOND);
        let hour_ago = START - 3600 * SECOND;
        assert!(pace.ready(hour_ago).is_err(), "what was spent is spent");
        assert_eq!(pace.ready(hour_ago + SECOND), Ok(()));
    }

    /// A service that grants the account 500 calls per second, which it shares among 5,000 nodes: this one gets a call
    /// in each ten seconds, with unlimited demand for ten minutes. Then the others have what they need.
    #[test]
    fn a_node_among_thousands_learns_its_share_and_is_quick_again_when_the_others_are_done() {
        let mut pace = UpstreamPace::new();
        let (mut granted, mut refused, mut spent_until) = (0, 0, START);
        for millis in 0..600_000_u32 {
            let now = START + millis * MILLI;
            while start(&mut pace, now).is_ok() {
                if spent_until <= now {
                    spent_until = now + 10 * SECOND;
                    granted += 1;
                    pace.answered(now);
                } else {
                    refused += 1;
                    pace.throttled(now, now, None);
                }
            }
        }
        assert!(granted >= 30, "{granted} granted of 60");
        assert!(
            refused <= 3 * granted,
            "{refused} refused, {granted} granted"
        );
        let others_are_done = START + 600 * SECOND;
        let mut answers = Vec::new();
        for millis in 0..60_000_u32 {
            let now = others_are_done + millis * MILLI;
            while start(&mut pace, now).is_ok() {
                pace.answered(now);
                answers.push(now);
            }
        }
        let a_pod_of_each = answers.get(29).unwrap();
        let waited = a_pod_of_each.saturating_since(others_are_done);
        assert!(waited <= 20 * SECOND, "30 pods after {waited:?}");
    }

    #[test]
    fn a_node_that_was_throttled_and_has_asked_for_nothing_since_is_as_quick_as_one_throttled_once()
    {
        let mut pace = UpstreamPace::new();
        for second in 0..100 {
            let now = START + second * SECOND;
            pace.throttled(now, now, None);
        }
        assert_eq!(pace.limit(), Some(MINIMUM_RATE));
        let throttled = START + 99 * SECOND;
        let wait = |pace: &mut UpstreamPace, now| {
            let later = start(pace, now).err().unwrap_or(now);
            later.saturating_since(now)
        };
        assert_eq!(wait(&mut pace, throttled + 59 * SECOND), Duration::ZERO);
        assert_eq!(wait(&mut pace, throttled + 60 * SECOND), 4 * SECOND - SLACK);
        let hour_later = throttled + 3600 * SECOND;
        assert_eq!(wait(&mut pace, hour_later), Duration::ZERO);
        assert_eq!(pace.limit(), Some(FIRST_RATE));
        assert_eq!(wait(&mut pace, hour_later), SECOND / 2 - SLACK);
    }

    /// A service that grants 20 calls per second, with unlimited demand for 60 seconds.
    #[test]
    fn the_rate_converges_to_the_granted_one_with_few_throttled_calls() {
        let mut pace = UpstreamPace::new();
        let (mut granted, mut refused) = (0, 0);
        let mut this_second = 0;
        for millis in 0..60_000_u32 {
            let now = START + millis * MILLI;
            if millis % 1000 == 0 {
                this_second = 0;
            }
            while start(&mut pace, now).is_ok() {
                this_second += 1;
                if this_second <= 20 {
                    granted += 1;
                    pace.answered(now);
                } else {
                    refused += 1;
                    pace.throttled(now, now, None);
                }
            }
        }
        assert!(granted > 60 * 20 * 7 / 10, "{granted} granted of 1200");
        assert!(
            refused < granted / 5,
            "{refused} refused, {granted} granted"
        );
    }

    #[test]
    fn a_throttled_call_without_others_is_followed_by_a_pause_that_grows_with_each() {
        let mut pace = UpstreamPace::new();
        pace.throttled(START, START, None);
        assert_eq!(pace.ready(START), Err(START + SECOND / 2), "two a second");
        assert_eq!(pace.ready(START + SECOND / 2), Ok(()));
        let (again, next) = (START + SECOND, START + 2 * SECOND);
        pace.throttled(again, again, None);
        let ready = pace.ready(again).unwrap_err();
        let pause = ready.saturating_since(again);
        assert!(pause > SECOND / 2 && ready < next, "{pause:?}");
        for _ in 0..9 {
            pace.throttled(next, next, None);
            assert!(pace.ready(next).is_err());
        }
        for minute in 1..9 {
            let now = START + 60 * minute * SECOND;
            pace.throttled(now, now, None);
        }
        assert_eq!(pace.limit(), Some(MINIMUM_RATE));
    }

    #[test]
    fn the_time_for_which_the_service_asks_to_be_left_alone_is_known() {
        let mut pace = UpstreamPace::new();
        assert_eq!(pace.quiet_for(START), Duration::ZERO);
        pace.throttled(START, START, Some(20 * SECOND));
        assert_eq!(pace.quiet_for(START + 5 * SECOND), 15 * SECOND);
        pace.throttled(START, START, Some(3600 * SECOND));
        assert_eq!(pace.quiet_for(START), LONGEST_QUIET);
    }

    #[test]
    fn what_was_granted_before_the_second_of_a_throttled_call_does_not_raise_the_rate() {
        let mut pace = UpstreamPace::new();
        pace.throttled(START, START, None);
        let later = START + SECOND;
        for _ in 0..3 {
            pace.answered(later);
        }
        let limit = pace.limit().unwrap();
        assert!(limit > 2.0 && limit <= 2.0 + 3.0, "{limit}");
        let expected = (0..3).fold(2.0, |rate, _| rate + INCREASE_PER_SECOND / rate);
        assert_eq!(limit, expected, "each answer adds its share and no more");
    }

    #[test]
    fn a_service_that_grants_all_that_is_asked_of_it_is_not_limited_any_more() {
        let mut pace = UpstreamPace::new();
        pace.throttled(START, START, None);
        let mut limits = Vec::new();
        for second in 1..400 {
            let now = START + second * SECOND;
            let Some(limit) = pace.limit() else {
                break;
            };
            limits.push(limit);
            // A second at the full rate.
            for _ in 0..limit as usize {
                pace.answered(now);
            }
        }
        assert_eq!(pace.limit(), None);
        assert!(limits.iter().all(|limit| *limit <= UNLIMITED));
        assert!(limits.last().is_some_and(|limit| *limit > UNLIMITED - 3.0));
        assert!(pace.granted.len() <= UNLIMITED as usize, "bounded");
    }
}
