use std::time::Duration;

use crate::{Backoff, Timestamp};

/// The rules for refreshes and retries, as numbers and pure arithmetic.
///
/// There are three policies: [`provider`](Self::provider) for a client in its application's process,
/// [`agent`](Self::agent) for the node, and [`cross_sdk`](Self::cross_sdk), the refresh behaviour that is
/// published for all AWS SDKs, without additions. Setters change single numbers, and clamp values out of range.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::{RefreshPolicy, Timestamp};
///
/// let hour = Duration::from_secs(3600);
/// let fetched = Timestamp::from_unix_secs(0);
/// let due = RefreshPolicy::cross_sdk().due(fetched, fetched + 6 * hour, 0.5);
/// assert_eq!(due, fetched + 5 * hour);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshPolicy {
    pub(crate) schedule: Schedule,
    pub(crate) window: Window,
    /// Whether a window is at most half the lifetime.
    pub(crate) halve_long_windows: bool,
    /// The minimum time between two refreshes of a slot, unless a caller asks and no set is usable.
    pub(crate) spacing: Duration,
    /// A set that is valid for no longer than this counts as expired.
    pub(crate) margin: Duration,
    pub(crate) last_minute: Option<LastMinute>,
    pub(crate) attempt_timeout: Duration,
    pub(crate) retry: Retry,
    pub(crate) rest: Backoff,
    /// The rest once refreshing has made no progress for this long.
    pub(crate) long_rest: Option<(Duration, Backoff)>,
    pub(crate) serve_expired: ServeExpired,
    /// Whether a fetched set with the access key id of the held one is no progress. In the published behaviour any
    /// success is progress.
    pub(crate) require_progress: bool,
    /// Whether a rejected set is withheld until an attempt has been made.
    pub(crate) withhold_rejected: bool,
    /// Whether a valid set is dropped when the association is gone.
    pub(crate) drop_when_gone: bool,
    /// Whether a caller waits for a due refresh although a valid set is held.
    pub(crate) wait_for_due_refresh: bool,
    /// If set, a refusal is the answer although a valid set is held, and is repeated for this long.
    pub(crate) repeat_refusals: Option<Duration>,
    pub(crate) request_limit: Option<RequestLimit>,
}

/// How long before its expiration a set may be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// 5 min for a lifetime of up to 20 min, 15 min for one below 90 min, else 60 min.
    /// Source: the refresh behaviour published for all AWS SDKs.
    ByLifetime,
    /// The same window for every lifetime.
    Fixed(Duration),
}

/// When a set is refreshed. U[a, b] is a random number between a and b.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Schedule {
    /// At expiry − window.
    AtWindow,
    /// At expiry − window × U[1 − spread, 1]. With a lifetime of 75 min or more, at [`CLOCK_SKEW_RESERVE`] before
    /// the expiry at the latest, with the same spread.
    BeforeExpiry { spread: f64 },
    /// At min(`retention`, lifetime − max(window, min(30 min, lifetime / 2))) × U[1 − spread, 1] after the fetch.
    /// The reserve is the same.
    AfterFetch { retention: Duration, spread: f64 },
}

/// The shorter rest between attempts in the last minute before a set expires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LastMinute {
    pub(crate) length: Duration,
    pub(crate) rest: Backoff,
}

/// How a fetch is retried while a caller waits and no set is usable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    /// The fetch fails this long after its first attempt began.
    pub(crate) within: Duration,
    /// The fetch fails this long after the last ask.
    pub(crate) linger: Duration,
    pub(crate) malformed: bool,
    pub(crate) backoff: Backoff,
}

/// When an expired set is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServeExpired {
    Never,
    /// While refreshes fail, also if the latest failure was before the expiry. This is the published behaviour.
    WhileFailing,
    /// For this long after the failure of an attempt that began after the expiry. Then the next caller waits for
    /// another attempt, so that callers get a valid set soon after the agent is back.
    AfterFailedAttempt(Duration),
}

/// The token bucket that limits the attempts of one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RequestLimit {
    pub(crate) burst: u32,
    pub(crate) per_second: f64,
}

impl RefreshPolicy {
    /// The policy of a client in its application's process.
    ///
    /// - A set is refreshed within the window before its expiry, at a random time in a fifth of the window, so
    ///   that pods that started together do not refresh together. A set with a lifetime of 75 min or more is
    ///   refreshed 65 min before its expiry at the latest, because the node's clock may be an hour slow.
    /// - An attempt takes at most 5 s. A caller that waits without a usable set gets five attempts within 10 s.
    ///   The last begins 2.5 to 5 s after the first, by when an agent that is being replaced is back.
    /// - After a refresh without progress, the slot rests for 1 s, doubling to 60 s; in the last minute before the
    ///   expiry for 1–5 s. After 15 minutes without progress, and with more than 65 min left, it rests for
    ///   300–600 s; this happens if a service has rejected the set and the agent has no other.
    /// - An expired set is handed out for 1 s after the failure of an attempt that began after the expiry, because
    ///   the service may still accept it.
    /// - A valid set is kept when the association is gone: the service accepts it until it expires, and an
    ///   association that is being replaced is gone for some seconds.
    /// - At most 4 attempts per second are made, after a burst of 5, however often callers ask.
    pub fn provider() -> Self {
        Self {
            schedule: Schedule::BeforeExpiry { spread: 0.2 },
            retry: Retry {
                attempts: 5,
                within: secs(10),
                linger: Duration::MAX,
                malformed: true,
                backoff: Backoff::new(Duration::from_millis(100), secs(2))
                    .with_factor(10)
                    .with_jitter(0.5),
            },
            rest: Backoff::new(secs(1), secs(60)).with_jitter(0.5),
            long_rest: Some((secs(15 * 60), constant(secs(600)).with_jitter(0.5))),
            serve_expired: ServeExpired::AfterFailedAttempt(FALLBACK),
            request_limit: Some(RequestLimit {
                burst: 5,
                per_second: 4.0,
            }),
            ..Self::common()
        }
    }

    /// The policy of the node agent.
    ///
    /// - A set is refreshed while it is valid for more than 15 minutes, whenever the lifetime allows: below that,
    ///   several SDKs ask the agent for every signature. With a longer lifetime it is refreshed while it is valid
    ///   for more than an hour, because the node's clock may be an hour slow.
    /// - An attempt takes at most 3 s. Without a set, a fetch goes on until 30 s after the last request, so that a
    ///   client that gave up finds the answer when it asks again. A malformed success is an error for the callers
    ///   and is not retried.
    /// - An expired set is never handed out. It is refreshed until the request expires.
    /// - The held set is dropped when the association is gone.
    pub fn agent() -> Self {
        Self {
            schedule: Schedule::AfterFetch {
                retention: secs(3 * 3600),
                spread: 0.1,
            },
            attempt_timeout: secs(3),
            retry: Retry {
                attempts: u32::MAX,
                within: Duration::MAX,
                linger: secs(30),
                malformed: false,
                backoff: Backoff::new(Duration::from_millis(200), secs(5)).with_jitter(0.5),
            },
            rest: Backoff::new(secs(1), secs(30)).with_jitter(0.5),
            drop_when_gone: true,
            ..Self::common()
        }
    }

    /// The refresh behaviour published for all AWS SDKs, without jitter and without additions. A caller waits for a
    /// due refresh, and gets an expired or rejected set when the refresh fails. A refusal is the answer, and is
    /// repeated for 5 s. After any other failure the next attempt waits.
    ///
    /// The published wait is random between 5 and 10 minutes. Here it defaults to 7 minutes and can be set by
    /// [`with_rest`](Self::with_rest).
    pub fn cross_sdk() -> Self {
        Self {
            halve_long_windows: false,
            spacing: Duration::ZERO,
            margin: Duration::ZERO,
            last_minute: None,
            rest: constant(secs(7 * 60)),
            serve_expired: ServeExpired::WhileFailing,
            require_progress: false,
            withhold_rejected: false,
            wait_for_due_refresh: true,
            repeat_refusals: Some(secs(5)),
            ..Self::common()
        }
    }

    fn common() -> Self {
        Self {
            schedule: Schedule::AtWindow,
            window: Window::ByLifetime,
            halve_long_windows: true,
            spacing: secs(10),
            margin: secs(15),
            last_minute: Some(LastMinute {
                length: secs(60),
                rest: constant(secs(5)).with_jitter(0.8),
            }),
            attempt_timeout: secs(5),
            retry: Retry {
                attempts: 1,
                within: Duration::MAX,
                linger: Duration::MAX,
                malformed: false,
                backoff: constant(Duration::ZERO),
            },
            rest: constant(secs(1)),
            long_rest: None,
            serve_expired: ServeExpired::Never,
            require_progress: true,
            withhold_rejected: true,
            drop_when_gone: false,
            wait_for_due_refresh: false,
            repeat_refusals: None,
            request_limit: None,
        }
    }

    /// Sets how long before its expiration a set may be refreshed. Defaults to [`Window::ByLifetime`].
    pub fn with_window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Sets after how long a set is refreshed at the latest, whatever its lifetime. Defaults to 3 h for the agent.
    /// Has no effect on the other policies, which count from the expiry.
    pub fn with_retention(mut self, longest: Duration) -> Self {
        if let Schedule::AfterFetch { retention, .. } = &mut self.schedule {
            *retention = longest.max(self.spacing);
        }
        self
    }

    /// Sets how long an attempt may take, including the body of the answer; at least 1 ms. Defaults to 5 s for the
    /// provider and 3 s for the agent.
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets how many attempts are made while a caller waits and no set is usable; at least 1. Defaults to 5 for the
    /// provider, and is unlimited for the agent.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.retry.attempts = attempts.max(1);
        self
    }

    /// Sets how long a caller waits at most while no set is usable, over all attempts. Defaults to 10 s for the
    /// provider, and is unlimited for the agent.
    pub fn with_wait(mut self, within: Duration) -> Self {
        self.retry.within = within;
        self
    }

    /// Sets the rest after a refresh without progress. It replaces the longer rest after 15 minutes, too.
    pub fn with_rest(mut self, rest: Backoff) -> Self {
        self.rest = rest;
        self.long_rest = None;
        self
    }

    /// Sets whether an expired set is handed out while refreshes fail. Defaults to `true` for the provider and
    /// `false` for the agent.
    pub fn with_serve_expired(mut self, serve_expired: bool) -> Self {
        self.serve_expired = match (serve_expired, self.serve_expired) {
            (false, _) => ServeExpired::Never,
            (true, ServeExpired::Never) => ServeExpired::AfterFailedAttempt(FALLBACK),
            (true, as_it_is) => as_it_is,
        };
        self
    }

    /// Returns how long an attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// Returns how long a caller waits at most while no set is usable, over all attempts.
    pub fn wait(&self) -> Duration {
        self.retry.within
    }

    /// Returns the margin: a set that is valid for no longer than this counts as expired. It is 15 s, the official
    /// agent's figure, and 0 for [`cross_sdk`](Self::cross_sdk).
    pub fn margin(&self) -> Duration {
        self.margin
    }

    /// Returns the window before the expiration of a set with this lifetime.
    pub fn window(&self, lifetime: Duration) -> Duration {
        let window = match self.window {
            Window::Fixed(window) => window,
            Window::ByLifetime if lifetime <= secs(20 * 60) => secs(5 * 60),
            Window::ByLifetime if lifetime < secs(90 * 60) => secs(15 * 60),
            Window::ByLifetime => secs(60 * 60),
        };
        if self.halve_long_windows {
            window.min(lifetime / 2)
        } else {
            window
        }
    }

    /// Returns when a set that was fetched at `fetched` and expires at `expires` is to be refreshed, for a random
    /// `fraction` of 0..1.
    pub fn due(&self, fetched: Timestamp, expires: Timestamp, fraction: f64) -> Timestamp {
        let fraction = if fraction.is_nan() {
            1.0
        } else {
            fraction.clamp(0.0, 1.0)
        };
        let lifetime = expires.saturating_since(fetched);
        let window = self.window(lifetime);
        let has_reserve = lifetime >= CLOCK_SKEW_RESERVE + secs(10 * 60);
        let due = match self.schedule {
            Schedule::AtWindow => expires - window,
            Schedule::BeforeExpiry { spread } => {
                let mut left = window.mul_f64(1.0 - spread);
                let mut range = window.mul_f64(spread);
                if has_reserve && left < CLOCK_SKEW_RESERVE {
                    left = CLOCK_SKEW_RESERVE;
                    // A set with a lifetime just above the reserve must not be refreshed all the time.
                    range = range.min(lifetime.saturating_sub(left) / 10);
                }
                expires - left - range.mul_f64(1.0 - fraction)
            }
            Schedule::AfterFetch { retention, spread } => {
                let mut left = window.max(secs(30 * 60).min(lifetime / 2));
                if has_reserve {
                    left = left.max(CLOCK_SKEW_RESERVE);
                }
                let age = retention.min(lifetime.saturating_sub(left));
                fetched + age.mul_f64(1.0 - spread * fraction)
            }
        };
        due.max(fetched + self.spacing)
    }

    /// Returns how much of the service's `Retry-After` is respected, given when the held set expires.
    ///
    /// The wait ends before the last minute of the set, so that there is time for another attempt before it expires.
    /// In the last 65 minutes the wait is as short as without a usable set, because the set has expired if the
    /// clock is an hour slow. While an expired set is handed out, the wait is no longer than that lasts, so that the
    /// next caller after the agent is back gets a valid set.
    pub(crate) fn honoured_hint(
        &self,
        hint: Duration,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> Duration {
        let last_minute = self.last_minute.map(|last| last.length).unwrap_or_default();
        match expires.map(|expires| expires - self.margin) {
            Some(expired) if now < expired => {
                let left = (expired + self.margin).saturating_since(now);
                let until_reserve = left.saturating_sub(CLOCK_SKEW_RESERVE);
                hint.min(LONGEST_HINT)
                    .min(until_reserve.max(LONGEST_HINT_UNUSABLE))
                    .min(left.saturating_sub(last_minute))
            }
            Some(_) if self.serve_expired != ServeExpired::Never => hint.min(FALLBACK),
            _ => hint.min(LONGEST_HINT_UNUSABLE),
        }
    }

    /// Returns the rest after an attempt without progress, for a set that expires at `expires`. `hint` is the result
    /// of [`honoured_hint`](Self::honoured_hint).
    ///
    /// The long rest ends before the last 65 minutes of the set. If the clock is an hour slow, the set seems valid
    /// then and has expired, so no caller would start an attempt. Every rest ends before the last minute, in which
    /// rests are short. They are not short after the expiry, because that has no end.
    pub(crate) fn rest(
        &self,
        now: Timestamp,
        streak: Streak,
        expires: Timestamp,
        hint: Duration,
        fraction: f64,
    ) -> Duration {
        let rest = self.rest.delay(streak.count, fraction);
        if now > expires {
            return rest.max(hint);
        }
        let rest = match self.long_rest {
            Some((after, long)) if now.saturating_since(streak.since) >= after => {
                let until_reserve = (expires - CLOCK_SKEW_RESERVE).saturating_since(now);
                long.delay(1, fraction).min(until_reserve.max(rest))
            }
            _ => rest,
        };
        let rest = match self.last_minute {
            Some(last) => {
                let until_last = (expires - last.length).saturating_since(now);
                rest.min(until_last.max(last.rest.delay(1, fraction)))
            }
            None => rest,
        };
        rest.max(hint)
    }
}

/// Attempts in a row without progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streak {
    pub(crate) since: Timestamp,
    pub(crate) count: u32,
}

impl Streak {
    /// Adds an attempt to a streak, or begins one.
    pub(crate) fn lengthen(streak: &mut Option<Self>, now: Timestamp) {
        let streak = streak.get_or_insert(Self {
            since: now,
            count: 0,
        });
        streak.count = streak.count.saturating_add(1);
    }
}

/// The longest `Retry-After` that is respected while a set is valid for long.
const LONGEST_HINT: Duration = secs(300);

/// The longest `Retry-After` that is respected while no set is usable for certain.
const LONGEST_HINT_UNUSABLE: Duration = secs(60);

/// How long an expired set is handed out after a failed attempt. It is long enough that a failing agent does not
/// get a request for each call of the application, and short enough that recovery takes at most 2 s.
const FALLBACK: Duration = secs(1);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn constant(delay: Duration) -> Backoff {
    Backoff::new(delay, delay)
}

/// How long a set is still valid when it is refreshed, if its lifetime seems to be longer than this. With a clock
/// that is an hour slow, a set of 59 min seems to have a lifetime of 119 min, and has expired when an hour seems to
/// be left.
const CLOCK_SKEW_RESERVE: Duration = secs(65 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    fn due_after(policy: &RefreshPolicy, lifetime: Duration, fraction: f64) -> u64 {
        let due = policy.due(START, START + lifetime, fraction);
        due.saturating_since(START).as_secs()
    }

    #[test]
    fn timeout_wait_and_margin_are_the_documented_ones() {
        for (policy, timeout, wait, margin) in [
            (RefreshPolicy::provider(), secs(5), secs(10), secs(15)),
            (RefreshPolicy::agent(), secs(3), Duration::MAX, secs(15)),
            (RefreshPolicy::cross_sdk(), secs(5), Duration::MAX, secs(0)),
        ] {
            assert_eq!(policy.attempt_timeout(), timeout, "{policy:?}");
            assert_eq!(policy.wait(), wait, "{policy:?}");
            assert_eq!(policy.margin(), margin, "{policy:?}");
        }
    }

    #[test]
    fn a_setter_changes_its_number_and_clamps_it() {
        let policy = RefreshPolicy::provider()
            .with_attempt_timeout(secs(2))
            .with_attempts(3)
            .with_wait(secs(7));
        assert_eq!(policy.attempt_timeout(), secs(2));
        assert_eq!(policy.retry.attempts, 3);
        assert_eq!(policy.wait(), secs(7));
        let least = policy.with_attempt_timeout(secs(0)).with_attempts(0);
        assert_eq!(least.attempt_timeout(), Duration::from_millis(1));
        assert_eq!(least.retry.attempts, 1);
        let short = RefreshPolicy::agent().with_retention(secs(0));
        assert_eq!(due_after(&short, secs(21_600), 0.0), 10);
    }

    #[test]
    fn a_fraction_out_of_range_is_clamped_and_no_number_counts_as_one() {
        for policy in [RefreshPolicy::provider(), RefreshPolicy::agent()] {
            let due = |fraction| policy.due(START, START + secs(21_600), fraction);
            assert_eq!(due(-1.0), due(0.0));
            for fraction in [1.5, f64::INFINITY, f64::NAN] {
                assert_eq!(due(fraction), due(1.0));
            }
        }
    }

    #[test]
    fn the_published_behaviour_has_no_spacing_and_no_shorter_window_or_rest() {
        let published = RefreshPolicy::cross_sdk();
        assert_eq!(published.window(secs(300)), secs(300));
        assert_eq!(due_after(&published, secs(300), 0.0), 0);
        let expires = START + secs(300);
        for left in [300, 30] {
            let streak = Streak {
                since: START,
                count: 9,
            };
            let now = expires - secs(left);
            let rest = published.rest(now, streak, expires, Duration::ZERO, 0.5);
            assert_eq!(rest, secs(7 * 60), "{left} s left");
        }
    }

    #[test]
    fn the_window_follows_the_lifetime() {
        let published = RefreshPolicy::cross_sdk();
        for (lifetime, window) in [
            (600, 300),
            (1200, 300),
            (1201, 900),
            (5399, 900),
            (5400, 3600),
            (21_600, 3600),
        ] {
            assert_eq!(published.window(secs(lifetime)), secs(window), "{lifetime}");
        }
        assert_eq!(RefreshPolicy::provider().window(secs(300)), secs(150));
        assert_eq!(
            published
                .clone()
                .with_window(Window::Fixed(secs(1800)))
                .window(secs(21_600)),
            secs(1800)
        );
    }

    #[test]
    fn the_provider_refreshes_in_a_fifth_of_the_window_and_65_minutes_before_the_end_at_the_latest()
    {
        let policy = RefreshPolicy::provider();
        assert_eq!(due_after(&policy, secs(3600), 0.0), 3600 - 900);
        assert_eq!(due_after(&policy, secs(3600), 1.0), 3600 - 720);
        assert_eq!(due_after(&policy, secs(21_600), 0.0), 21_600 - 3900 - 720);
        assert_eq!(due_after(&policy, secs(21_600), 1.0), 21_600 - 3900);
        assert_eq!(due_after(&policy, secs(20), 0.0), 10);
        // The reserve begins at 75 min, with a tenth of what is left before it as the spread.
        assert_eq!(due_after(&policy, secs(4499), 0.0), 4499 - 900);
        assert_eq!(due_after(&policy, secs(4500), 0.0), 600 - 60);
        assert_eq!(due_after(&policy, secs(4500), 1.0), 600);
    }

    #[test]
    fn the_agent_always_has_more_than_fifteen_minutes_left_if_the_lifetime_allows() {
        let policy = RefreshPolicy::agent();
        for minutes in 31..=720 {
            for fraction in [0.0, 0.5, 1.0] {
                let left = minutes * 60 - due_after(&policy, secs(minutes * 60), fraction);
                assert!(
                    left > 15 * 60,
                    "{minutes} min: refreshed with {left} s left"
                );
            }
        }
        assert_eq!(
            due_after(&policy, secs(21_600), 0.0),
            3 * 3600,
            "retention is the shorter"
        );
        assert_eq!(due_after(&policy, secs(7200), 0.0), 55 * 60);
        assert_eq!(due_after(&policy, secs(4500), 0.0), 600);
        assert_eq!(due_after(&policy, secs(4499), 0.0), 4499 - 1800);
        assert_eq!(
            due_after(&policy, secs(59 * 60), 0.0),
            59 * 30,
            "half of the lifetime"
        );
        let short = policy.with_retention(secs(30));
        assert_eq!(due_after(&short, secs(21_600), 1.0), 27);
    }

    #[test]
    fn by_a_clock_that_is_an_hour_slow_a_set_is_refreshed_before_the_true_expiry() {
        for policy in [RefreshPolicy::agent(), RefreshPolicy::provider()] {
            for minutes in 16..=720 {
                for fraction in [0.0, 0.5, 1.0] {
                    let due = due_after(&policy, secs((60 + minutes) * 60), fraction);
                    assert!(due <= (minutes - 5) * 60, "{minutes} min: {due} s");
                }
            }
        }
    }

    /// The rest of the provider after `count` attempts, all since [`START`], with jitter of none.
    fn rest_after(count: u32, now: Timestamp, expires: Timestamp) -> Duration {
        let streak = Streak {
            since: START,
            count,
        };
        RefreshPolicy::provider().rest(now, streak, expires, Duration::ZERO, 1.0)
    }

    #[test]
    fn the_rest_grows_and_shrinks_in_the_last_minute() {
        let expires = START + secs(7200);
        assert_eq!(rest_after(1, START, expires), secs(1));
        assert_eq!(rest_after(3, START, expires), secs(4));
        assert_eq!(rest_after(20, START, expires), secs(60));
        assert_eq!(
            rest_after(20, expires - secs(100), expires),
            secs(40),
            "until the last minute begins"
        );
        assert_eq!(rest_after(20, expires - secs(30), expires), secs(5));
        assert_eq!(rest_after(20, expires, expires), secs(5));
        assert_eq!(rest_after(20, expires + secs(1), expires), secs(60));
    }

    #[test]
    fn the_rest_is_long_after_a_quarter_of_an_hour_and_ends_65_minutes_before_the_expiry() {
        let expires = START + secs(6 * 3600);
        let reserve = expires - CLOCK_SKEW_RESERVE;
        for (now, rest) in [
            (START + secs(899), 60),
            (START + secs(900), 600),
            (reserve - secs(600), 600),
            (reserve - secs(100), 100),
            (reserve - secs(1), 60),
            (reserve + secs(1), 60),
            (expires - secs(120), 60),
        ] {
            assert_eq!(rest_after(20, now, expires), secs(rest), "{now}");
        }
    }

    #[test]
    fn a_hint_is_honoured_and_never_reaches_into_the_last_minute_nor_beyond_the_expiry() {
        let expires = START + secs(6 * 3600);
        for policy in [RefreshPolicy::provider(), RefreshPolicy::agent()] {
            for (left, hint, honoured) in [
                (6 * 3600, 40, 40),
                (6 * 3600, 86_400, 300),
                (3900 + 100, 300, 100),
                (3900, 300, 60),
                (200, 300, 60),
                (100, 300, 40),
                (61, 300, 1),
                (30, 300, 0),
            ] {
                let now = expires - secs(left);
                assert_eq!(
                    policy.honoured_hint(secs(hint), now, Some(expires)),
                    secs(honoured),
                    "{hint} s with {left} s left"
                );
            }
            assert_eq!(policy.honoured_hint(secs(300), START, None), secs(60));
            for (left, serves, fails_closed) in [(15, 1, 60), (0, 1, 60)] {
                let now = expires - secs(left);
                let honoured = |serve| {
                    let policy = policy.clone().with_serve_expired(serve);
                    policy.honoured_hint(secs(300), now, Some(expires))
                };
                assert_eq!(honoured(true), secs(serves), "{left} s left");
                assert_eq!(honoured(false), secs(fails_closed), "{left} s left");
            }
        }
    }
}
