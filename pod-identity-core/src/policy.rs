use std::time::Duration;

use crate::{Backoff, Timestamp};

/// The refresh rules as numbers, and the arithmetic on them.
///
/// Three named sets: [`provider`](Self::provider) for a client beside its application,
/// [`agent`](Self::agent) for the node, and [`sep`](Self::sep), the published cross-SDK refresh
/// behaviour without anything of our own. Setters change single numbers and clamp what makes no sense.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::{RefreshPolicy, Timestamp};
///
/// let hour = Duration::from_secs(3600);
/// let fetched = Timestamp::from_unix_secs(0);
/// let due = RefreshPolicy::provider().due(fetched, fetched + 6 * hour, 0.5);
/// assert_eq!(due, fetched + 6 * hour - hour.mul_f64(0.9));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshPolicy {
    pub(crate) schedule: Schedule,
    pub(crate) window: Window,
    /// A window longer than half the lifetime becomes half the lifetime.
    pub(crate) halve_long_windows: bool,
    /// Never two refreshes of one slot within this time, unless asked with nothing usable.
    pub(crate) spacing: Duration,
    /// With less life than this a set counts as expired.
    pub(crate) margin: Duration,
    /// In the last stretch of a set's life the rest between attempts shrinks.
    pub(crate) mandatory: Option<Mandatory>,
    pub(crate) attempt_timeout: Duration,
    pub(crate) retry: Retry,
    pub(crate) rest: Backoff,
    /// The rest once refreshing has failed for this long.
    pub(crate) long_rest: Option<(Duration, Backoff)>,
    /// Hand out an expired set while refreshing fails.
    pub(crate) serve_expired: bool,
    /// A set that does not live longer than the held one is no progress.
    pub(crate) require_progress: bool,
    /// Whether an ask while a refresh is due waits for it, and for how long a refusal is repeated to
    /// those who ask again (`sep()` only).
    pub(crate) sep: Option<Duration>,
}

/// How long before its expiry a set may be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// By lifetime: up to 20 min, 5 min; below 90 min, 15 min; from 90 min, 60 min.
    /// Source: the cross-SDK refresh behaviour.
    ByLifetime,
    /// Always the same.
    Fixed(Duration),
}

/// When within its life a set is refreshed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Schedule {
    /// At expiry − window × U[1 − spread, 1].
    BeforeExpiry { spread: f64 },
    /// At the earlier of `retention` and expiry − max(window, min(30 min, lifetime / 2)), counted from
    /// the fetch, × U[1 − spread, 1]; at expiry − 65 min at the latest, where the lifetime seems to be 75
    /// min or more.
    AfterFetch { retention: Duration, spread: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mandatory {
    pub(crate) window: Duration,
    pub(crate) rest: Backoff,
}

/// How a fetch goes on failing while somebody waits and nothing is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    /// Give up this long after the fetch began.
    pub(crate) within: Duration,
    /// Give up this long after the last ask.
    pub(crate) linger: Duration,
    pub(crate) malformed: bool,
    pub(crate) backoff: Backoff,
}

impl RefreshPolicy {
    /// For a client beside its application.
    ///
    /// Refreshes within the window before expiry, spread over its last fifth so that pods that started
    /// together do not refresh together. An attempt has 5 s. Whoever waits with nothing held gets five
    /// attempts within 10 s, the last of them 2.5 to 5 s after the first, so that an agent which is being
    /// replaced is back by then. A failing refresh rests 1 s doubling to 60 s, and 300–600 s once it has
    /// failed for 15 minutes; in the last minute of a set's life, 1–5 s, and after that up to 60 s. An
    /// expired set is handed out while refreshing fails: the service may still accept it, and decides.
    pub fn provider() -> Self {
        Self {
            schedule: Schedule::BeforeExpiry { spread: 0.2 },
            attempt_timeout: secs(5),
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
            serve_expired: true,
            ..Self::common()
        }
    }

    /// For the node agent.
    ///
    /// Refreshes early enough that what it serves has more than 15 minutes left whenever the lifetime
    /// allows, because several SDKs go back to the agent on every signature below that; and more than an
    /// hour of what seems to live that long, because the clock of the node may be an hour slow. An attempt has
    /// 3 s. While nothing is held a fetch goes on until 30 s after the last ask, so that a client that
    /// gave up finds the answer when it comes back. A malformed success is answered, not retried. It
    /// never hands out an expired set, but goes on refreshing it until the request ends.
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
            long_rest: None,
            serve_expired: false,
            ..Self::common()
        }
    }

    /// The published cross-SDK refresh behaviour, without jitter and without rules of our own: a due
    /// refresh is waited for, an expired or rejected set is handed out when refreshing fails, a refusal
    /// is raised and repeated for 5 s, and every other failure rests.
    ///
    /// The published rest is random between 5 and 10 minutes; here it is fixed at 7 minutes unless
    /// [`with_rest`](Self::with_rest) says otherwise.
    pub fn sep() -> Self {
        Self {
            schedule: Schedule::BeforeExpiry { spread: 0.0 },
            halve_long_windows: false,
            spacing: Duration::ZERO,
            margin: Duration::ZERO,
            mandatory: None,
            attempt_timeout: secs(5),
            retry: Retry {
                attempts: 1,
                within: Duration::MAX,
                linger: Duration::MAX,
                malformed: false,
                backoff: constant(Duration::ZERO),
            },
            rest: constant(secs(7 * 60)),
            long_rest: None,
            serve_expired: true,
            require_progress: false,
            sep: Some(secs(5)),
            ..Self::common()
        }
    }

    fn common() -> Self {
        Self {
            schedule: Schedule::BeforeExpiry { spread: 0.0 },
            window: Window::ByLifetime,
            halve_long_windows: true,
            spacing: secs(10),
            margin: secs(15),
            mandatory: Some(Mandatory {
                window: secs(60),
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
            serve_expired: false,
            require_progress: true,
            sep: None,
        }
    }

    /// How long before its expiry a set may be refreshed; by lifetime unless told.
    pub fn with_window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// The longest time until a set is refreshed, however long it lives; 3 h for the agent. No effect on
    /// a policy that counts from the expiry.
    pub fn with_retention(mut self, longest: Duration) -> Self {
        if let Schedule::AfterFetch { retention, .. } = &mut self.schedule {
            *retention = longest.max(self.spacing);
        }
        self
    }

    /// How long one attempt may take, the answer's body included; 5 s for the provider, 3 s for the
    /// agent. At least 1 ms.
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How many attempts are made while somebody waits and nothing is held; 3 for the provider, no
    /// limit but time for the agent. At least 1.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.retry.attempts = attempts.max(1);
        self
    }

    /// How long those who wait with nothing held wait at most, over all attempts; 10 s for the provider.
    pub fn with_wait(mut self, within: Duration) -> Self {
        self.retry.within = within;
        self
    }

    /// The rest after a failed background refresh, also once it has failed for long.
    pub fn with_rest(mut self, rest: Backoff) -> Self {
        self.rest = rest;
        self.long_rest = None;
        self
    }

    /// Whether an expired set is handed out while refreshing fails; the provider does, the agent never.
    pub fn with_serve_expired(mut self, serve_expired: bool) -> Self {
        self.serve_expired = serve_expired;
        self
    }

    /// How long one attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// The longest that somebody waits for a fetch with nothing held, over all its attempts.
    pub fn wait(&self) -> Duration {
        self.retry.within
    }

    /// With less life than this left a set counts as expired: 15 s, the official agent's figure.
    pub fn margin(&self) -> Duration {
        self.margin
    }

    /// The window before expiry for a set of this lifetime.
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

    /// When a set that was fetched at `fetched` and expires at `expires` is to be refreshed, for a
    /// `fraction` drawn from 0..1.
    pub fn due(&self, fetched: Timestamp, expires: Timestamp, fraction: f64) -> Timestamp {
        let lifetime = expires.saturating_since(fetched);
        let window = self.window(lifetime);
        let due = match self.schedule {
            Schedule::BeforeExpiry { spread } => expires - window.mul_f64(1.0 - spread * fraction),
            Schedule::AfterFetch { retention, spread } => {
                let mut left = window.max(secs(30 * 60).min(lifetime / 2));
                if lifetime >= SURE_LEFT + secs(10 * 60) {
                    left = left.max(SURE_LEFT);
                }
                let age = retention.min(lifetime.saturating_sub(left));
                fetched + age.mul_f64(1.0 - spread * fraction)
            }
        };
        due.max(fetched + self.spacing)
    }

    /// The rest after a refresh failed of a set that expires at `expires`.
    ///
    /// Once the set has expired neither the long rest holds, because what is missing is to come back
    /// soon, nor the hurry of the last stretch, which could go on for ever.
    pub(crate) fn rest(
        &self,
        now: Timestamp,
        failing: Failing,
        expires: Timestamp,
        fraction: f64,
    ) -> Duration {
        let rest = self.rest.delay(failing.count, fraction);
        if now > expires {
            return rest;
        }
        let rest = match self.long_rest {
            Some((after, long)) if now.saturating_since(failing.since) >= after => {
                long.delay(1, fraction)
            }
            _ => rest,
        };
        match self.mandatory {
            // Rest at most until the last stretch begins, and there only for its own short rest.
            Some(last) => {
                let until_last = (expires - last.window).saturating_since(now);
                rest.min(until_last.max(last.rest.delay(1, fraction)))
            }
            None => rest,
        }
    }
}

/// A run of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failing {
    pub(crate) since: Timestamp,
    pub(crate) count: u32,
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn constant(delay: Duration) -> Backoff {
    Backoff::new(delay, delay)
}

/// Of what seems to live for long enough. By a clock that is an hour slow, a set of 59 min seems to live
/// for 119, and has expired when an hour seems to be left.
const SURE_LEFT: Duration = secs(65 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    fn due_after(policy: &RefreshPolicy, lifetime: Duration, fraction: f64) -> u64 {
        let due = policy.due(START, START + lifetime, fraction);
        due.saturating_since(START).as_secs()
    }

    #[test]
    fn the_window_follows_the_lifetime() {
        let sep = RefreshPolicy::sep();
        for (lifetime, window) in [
            (600, 300),
            (1200, 300),
            (1201, 900),
            (5399, 900),
            (5400, 3600),
            (21_600, 3600),
        ] {
            assert_eq!(sep.window(secs(lifetime)), secs(window), "{lifetime}");
        }
        assert_eq!(RefreshPolicy::provider().window(secs(300)), secs(150));
        assert_eq!(
            sep.clone()
                .with_window(Window::Fixed(secs(1800)))
                .window(secs(21_600)),
            secs(1800)
        );
    }

    #[test]
    fn the_provider_refreshes_in_the_last_fifth_of_the_window() {
        let policy = RefreshPolicy::provider();
        assert_eq!(due_after(&policy, secs(21_600), 0.0), 21_600 - 3600);
        assert_eq!(due_after(&policy, secs(21_600), 1.0), 21_600 - 2880);
        assert_eq!(due_after(&policy, secs(20), 0.0), 10);
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
        assert_eq!(
            due_after(&policy, secs(59 * 60), 0.0),
            59 * 30,
            "half of the lifetime"
        );
        let short = policy.with_retention(secs(30));
        assert_eq!(due_after(&short, secs(21_600), 1.0), 27);
    }

    #[test]
    fn by_a_clock_that_is_an_hour_slow_the_agent_refreshes_before_the_true_expiry() {
        let policy = RefreshPolicy::agent();
        for minutes in 16..=59 {
            for fraction in [0.0, 0.5, 1.0] {
                let due = due_after(&policy, secs((60 + minutes) * 60), fraction);
                assert!(due <= (minutes - 5) * 60, "{minutes} min: {due} s");
            }
        }
    }

    #[test]
    fn the_rest_shrinks_in_the_last_minute_and_grows_after_a_quarter_of_an_hour() {
        let policy = RefreshPolicy::provider();
        let expires = START + secs(7200);
        let rest = |now: Timestamp, count| {
            policy
                .rest(
                    now,
                    Failing {
                        since: START,
                        count,
                    },
                    expires,
                    1.0,
                )
                .as_secs()
        };
        assert_eq!(rest(START, 1), 1);
        assert_eq!(rest(START, 3), 4);
        assert_eq!(rest(START, 20), 60);
        assert_eq!(rest(START + secs(900), 20), 600);
        assert_eq!(
            rest(expires - secs(160), 20),
            100,
            "until the last minute begins"
        );
        assert_eq!(rest(expires - secs(30), 20), 5);
        let least = policy.rest(
            expires,
            Failing {
                since: START,
                count: 20,
            },
            expires,
            0.0,
        );
        assert_eq!(least.as_millis(), 1000);
    }
}
