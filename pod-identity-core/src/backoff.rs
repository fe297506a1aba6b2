use std::time::Duration;

/// Exponential backoff: the delay after the n-th failure in a row grows from a first delay to a cap. Jitter
/// keeps clients that failed at the same time from retrying at the same time.
///
/// The arithmetic is pure: the random number is an argument.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::Backoff;
///
/// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30)).with_jitter(0.5);
/// assert_eq!(backoff.delay(1, 1.0), Duration::from_secs(1));
/// assert_eq!(backoff.delay(3, 1.0), Duration::from_secs(4));
/// assert_eq!(backoff.delay(3, 0.0), Duration::from_secs(2));
/// assert_eq!(backoff.delay(60, 1.0), Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    factor: u32,
    jitter: f64,
}

impl Backoff {
    /// Creates a backoff that doubles from `first` to `cap`, without jitter.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            factor: 2,
            jitter: 0.0,
        }
    }

    /// Sets the share of each delay that is random, clamped to 0..1. Defaults to 0. With 1, the whole delay is
    /// random ("full jitter").
    #[must_use = "it returns the changed backoff"]
    pub const fn with_jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// Sets the factor by which each further failure multiplies the delay, at least 1. Defaults to 2.
    #[must_use = "it returns the changed backoff"]
    pub const fn with_factor(mut self, factor: u32) -> Self {
        self.factor = if factor == 0 { 1 } else { factor };
        self
    }

    /// Returns the delay after `failures` failures in a row, counted from 1, for a random `fraction` of 0..1.
    pub fn delay(&self, failures: u32, fraction: f64) -> Duration {
        let growth = self.factor.checked_pow(failures.saturating_sub(1));
        let whole = growth
            .and_then(|growth| self.first.checked_mul(growth))
            .map_or(self.cap, |delay| delay.min(self.cap));
        let share = 1.0 - self.jitter * (1.0 - fraction.clamp(0.0, 1.0));
        // `Duration::MAX` times 1.0 would overflow, and NaN would panic.
        if share < 1.0 {
            whole.mul_f64(share)
        } else {
            whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_never_overflow() {
        let backoff =
            Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).with_factor(10);
        for (failures, millis) in [(0, 100), (1, 100), (2, 1000), (3, 2000), (u32::MAX, 2000)] {
            assert_eq!(
                backoff.delay(failures, 0.3),
                Duration::from_millis(millis),
                "{failures}"
            );
        }
    }

    #[test]
    fn a_delay_without_end_stays_one_with_any_jitter_and_fraction() {
        let forever = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(forever.delay(1, 1.0), Duration::MAX);
        assert_eq!(forever.delay(u32::MAX, 0.0), Duration::MAX);
        assert_eq!(forever.with_jitter(1.0).delay(1, 1.0), Duration::MAX);
        assert_eq!(forever.with_jitter(1.0).delay(1, 0.0), Duration::ZERO);
        assert!(forever.with_jitter(0.5).delay(1, 0.5) > Duration::MAX / 2);
    }

    #[test]
    fn a_jitter_or_fraction_that_is_no_number_changes_nothing() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for delay in [
            backoff.with_jitter(f64::NAN).delay(2, 0.5),
            backoff.with_jitter(0.5).delay(2, f64::NAN),
        ] {
            assert_eq!(delay, Duration::from_secs(2));
        }
    }

    #[test]
    fn full_jitter_reaches_from_nothing_to_the_whole_delay() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8)).with_jitter(1.0);
        assert_eq!(backoff.delay(2, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(2, 0.5), Duration::from_secs(1));
        assert_eq!(backoff.delay(2, 7.0), Duration::from_secs(2));
    }
}
