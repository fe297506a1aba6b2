use std::collections::VecDeque;
use std::time::Duration;

use pod_identity_core::Timestamp;

/// How fast EKS Auth is asked: as fast as wished until it first says "too many", then at a rate that
/// finds what it grants.
///
/// The rate grows by a step with each second of success and is cut at a throttle, at most once for all
/// requests that were on their way together, and never below what was granted in the last second: a
/// service that grants so many in each second throttles all that come in the rest of it, which says
/// nothing about the next. A service's wish to be left alone holds for everybody.
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
    next: Timestamp,
    found_at: Timestamp,
    cut_at: Timestamp,
}

impl UpstreamPace {
    pub(crate) fn new() -> Self {
        Self {
            rate: None,
            granted: VecDeque::new(),
            quiet_until: Timestamp::MIN,
        }
    }

    /// Whether an exchange may start now; else, when to ask again.
    pub(crate) fn ready(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.notice_step(now);
        let next = self.rate.as_ref().map_or(Timestamp::MIN, |rate| rate.next);
        match next.max(self.quiet_until) {
            later if now < later => Err(later),
            _ => Ok(()),
        }
    }

    /// An exchange starts.
    pub(crate) fn started(&mut self, now: Timestamp) {
        if let Some(rate) = &mut self.rate {
            rate.next = rate.next.max(now - SLACK) + rate.pause();
        }
    }

    /// An exchange was answered, well or not, and not throttled.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        self.granted.push_back(now);
        if self.granted.len() > UNLIMITED as usize {
            self.granted.pop_front();
        }
        let granted = match &self.rate {
            // The first throttle may come before what was granted along with it.
            Some(rate) if now < rate.found_at + SECOND => self.granted_lately(now).0,
            _ => 0.0,
        };
        if let Some(rate) = &mut self.rate {
            rate.per_second = rate.per_second.max(granted);
            // Each answer adds its share, so that a second at the full rate adds the step.
            rate.per_second += STEP / rate.per_second.max(1.0);
            if rate.per_second > UNLIMITED {
                self.rate = None;
            }
        }
    }

    /// An exchange that began at `began` was throttled.
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
                let per_second = granted.max(LEAST * 2.0);
                let next = now + SECOND.div_f64(per_second);
                self.rate = Some(Rate {
                    per_second,
                    // What it grants in a second has been taken.
                    next: next.max(began_granting + SECOND),
                    found_at: now,
                    cut_at: now,
                });
            }
            // What was on its way before the last cut says nothing about the rate after it; nor does what
            // began in the same millisecond.
            Some(rate) if rate.cut_at < began => {
                let cut = (rate.per_second * CUT).max(granted);
                rate.per_second = cut.min(rate.per_second * LEAST_CUT).max(LEAST);
                rate.cut_at = now;
                rate.next = rate.next.max(now + rate.pause());
            }
            Some(_) => {}
        }
    }

    /// How many exchanges were answered in the last second, and when the first of them.
    fn granted_lately(&mut self, now: Timestamp) -> (f64, Timestamp) {
        self.granted.retain(|at| now < *at + SECOND && *at <= now);
        let first = self.granted.front().copied();
        (self.granted.len() as f64, first.unwrap_or(Timestamp::MIN))
    }

    /// How long EKS Auth still wishes to be left alone.
    pub(crate) fn quiet_for(&self, now: Timestamp) -> Duration {
        self.quiet_until.saturating_since(now).min(LONGEST_QUIET)
    }

    /// Exchanges per second, once there is a limit.
    pub(crate) fn limit(&self) -> Option<f64> {
        self.rate.as_ref().map(|rate| rate.per_second)
    }

    fn notice_step(&mut self, now: Timestamp) {
        self.quiet_until = self.quiet_until.min(now + LONGEST_QUIET);
        if let Some(rate) = &mut self.rate {
            rate.next = rate.next.min(now + rate.pause() + SECOND);
            rate.found_at = rate.found_at.min(now);
            rate.cut_at = rate.cut_at.min(now);
        }
    }
}

impl Rate {
    fn pause(&self) -> Duration {
        SECOND.div_f64(self.per_second)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Starts that were missed, because a timer came late, are made up for up to this much.
const SLACK: Duration = Duration::from_millis(50);

/// What a second at the full rate adds, in exchanges per second.
const STEP: f64 = 2.0;

/// What a throttle leaves of the rate.
const CUT: f64 = 0.7;

/// The same, where more has just been granted.
const LEAST_CUT: f64 = 0.95;

/// The rate never falls below this, in exchanges per second.
const LEAST: f64 = 1.0;

/// From here on there is no limit again: no node needs more.
const UNLIMITED: f64 = 500.0;

/// A service's hint is honoured up to here.
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
    fn throttles_that_were_on_their_way_together_cut_the_rate_once() {
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
        assert_eq!(pace.limit(), Some(19.0 * CUT));
    }

    #[test]
    fn what_a_service_grants_in_a_second_is_not_asked_for_twice_in_it() {
        let mut pace = UpstreamPace::new();
        for _ in 0..20 {
            pace.answered(START);
        }
        pace.throttled(START, START + 20 * MILLI, None);
        assert_eq!(pace.ready(START + 30 * MILLI), Err(START + SECOND));
        assert_eq!(pace.ready(START + SECOND), Ok(()));
    }

    #[test]
    fn what_was_granted_counts_though_a_throttle_came_before_it() {
        let mut pace = UpstreamPace::new();
        pace.answered(START);
        pace.throttled(START, START + 10 * MILLI, None);
        assert_eq!(pace.limit(), Some(LEAST * 2.0));
        for _ in 0..19 {
            pace.answered(START + 20 * MILLI);
        }
        let limit = pace.limit().unwrap();
        assert!((20.0..=22.0).contains(&limit), "{limit}");
    }

    #[test]
    fn throttles_that_come_at_once_cut_the_rate_once() {
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
    fn a_hint_holds_for_everybody() {
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

    /// A service that grants 20 in each second, asked for 60 seconds by someone with endless work.
    #[test]
    fn the_rate_finds_what_is_granted_and_wastes_little() {
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
}
