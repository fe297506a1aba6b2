use std::time::Duration;

use crate::Timestamp;

/// A token bucket: up to `burst` at once, refilled at `per_second`.
///
/// Time is an argument, tokens are fractional, and a token can be reserved before it is available. The bucket
/// starts full. A step back of the wall clock neither refills the bucket nor adds to the wait, once a call has
/// changed the bucket or [`notice_step`](Self::notice_step) was called. A step forward refills the bucket as if the
/// time had passed.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::{Timestamp, TokenBucket};
///
/// let now = Timestamp::from_unix_secs(1_772_366_400);
/// let mut bucket = TokenBucket::new(2, 4.0);
/// assert!(bucket.try_take(now) && bucket.try_take(now));
/// assert!(!bucket.try_take(now), "the burst is used up");
///
/// // A caller that can wait reserves the next token and sleeps until it is available.
/// let quarter = Duration::from_millis(250);
/// assert_eq!(bucket.reserve(now, Duration::from_secs(1)), Some(quarter));
/// assert_eq!(bucket.reserve(now, quarter), None, "the next one takes 500 ms");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBucket {
    burst: u32,
    /// Nanoseconds to refill one token.
    price: u64,
    /// Nanoseconds of refill that the bucket holds beyond its burst.
    slack: u64,
    /// Nanoseconds until the bucket is full, as of `updated`. Storing the missing time instead of the tokens keeps
    /// fractions of a token exact without floating point.
    missing: u64,
    updated: Timestamp,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` tokens, refilled at `per_second`.
    ///
    /// With a `burst` of 0, every token has to be waited for. The slowest rate is one token per hour, also if
    /// `per_second` is zero, negative or NaN, so that no caller waits for ever. An infinite rate is no limit.
    pub fn new(burst: u32, per_second: f64) -> Self {
        Self {
            burst,
            price: price(per_second),
            slack: 0,
            missing: 0,
            updated: Timestamp::MIN,
        }
    }

    /// Compensates for timers that fire late: a token that is taken up to `slack` after it became available does
    /// not delay the next one. Defaults to zero.
    pub fn with_slack(mut self, slack: Duration) -> Self {
        self.slack = nanos(slack);
        self
    }

    /// Takes a token if one is available, and returns whether it was.
    pub fn try_take(&mut self, now: Timestamp) -> bool {
        self.reserve(now, Duration::ZERO).is_some()
    }

    /// Takes a token that is available within `max_wait`, and returns how long to wait for it.
    ///
    /// Returns `None`, and takes nothing, if the wait would be longer.
    pub fn reserve(&mut self, now: Timestamp, max_wait: Duration) -> Option<Duration> {
        self.update(now);
        let wait = self.wait_nanos(self.missing);
        if wait > nanos(max_wait) {
            return None;
        }
        self.missing = self.missing.saturating_add(self.price);
        Some(Duration::from_nanos(wait))
    }

    /// Returns a token to the bucket, for example because the action it was taken for did not happen.
    pub fn refund(&mut self, now: Timestamp) {
        self.update(now);
        self.missing = self.missing.saturating_sub(self.price);
    }

    /// Returns how long it takes until `count` tokens are available; zero if they already are.
    ///
    /// More tokens than the burst are never available at once. For such a count, returns the time until the last of
    /// them can be taken if each is taken as soon as possible.
    pub fn wait_for(&self, now: Timestamp, count: u32) -> Duration {
        let others = self.price.saturating_mul(u64::from(count.max(1) - 1));
        let missing = self.missing_at(now).saturating_add(others);
        Duration::from_nanos(self.wait_nanos(missing))
    }

    /// Returns when the next token is available, rounded up to whole milliseconds; `now` if it already is.
    pub fn ready_at(&self, now: Timestamp) -> Timestamp {
        let wait = self.wait_nanos(self.missing_at(now));
        now + Duration::from_millis(wait.div_ceil(NANOS_PER_MILLI))
    }

    /// Returns whether the bucket is full, as a new one is.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.missing_at(now) == 0
    }

    /// Changes the rate. The number of tokens in the bucket, or owed, stays the same.
    pub fn set_rate(&mut self, now: Timestamp, per_second: f64) {
        self.update(now);
        let price = price(per_second);
        if self.price > 0 {
            let scaled = u128::from(self.missing) * u128::from(price) / u128::from(self.price);
            self.missing = u64::try_from(scaled).unwrap_or(u64::MAX);
        }
        self.price = price;
    }

    /// Makes no token available before `at`, and at most one at that time.
    pub fn block_until(&mut self, now: Timestamp, at: Timestamp) {
        self.update(now);
        let one_token_left = self.capacity().saturating_sub(self.price);
        let wait = nanos(at.saturating_since(now));
        if wait > 0 {
            self.missing = self.missing.max(one_token_left.saturating_add(wait));
        }
    }

    /// Takes note that the wall clock may have been stepped back: the bucket is refilled from `now` on.
    ///
    /// Every call that changes the bucket takes note of it too. A driver that only reads the bucket
    /// must call this first: otherwise no token becomes available until the clock has made up for
    /// the step.
    pub fn notice_step(&mut self, now: Timestamp) {
        self.updated = self.updated.min(now);
    }

    fn update(&mut self, now: Timestamp) {
        self.missing = self.missing_at(now);
        self.updated = now;
    }

    fn missing_at(&self, now: Timestamp) -> u64 {
        let passed = nanos(now.saturating_since(self.updated));
        self.missing.saturating_sub(passed)
    }

    /// Returns the time until a token is available when so much is missing.
    fn wait_nanos(&self, missing: u64) -> u64 {
        let after_taking = missing.saturating_add(self.price);
        after_taking.saturating_sub(self.capacity())
    }

    fn capacity(&self) -> u64 {
        let burst = self.price.saturating_mul(u64::from(self.burst));
        burst.saturating_add(self.slack)
    }
}

fn price(per_second: f64) -> u64 {
    // `max` also replaces NaN.
    let price = 1e9 / per_second.max(SLOWEST_PER_SECOND);
    price.round() as u64
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_MILLI: u64 = 1_000_000;

const SLOWEST_PER_SECOND: f64 = 1.0 / 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    fn take_all(bucket: &mut TokenBucket, now: Timestamp) -> usize {
        std::iter::from_fn(|| bucket.try_take(now).then_some(()))
            .take(10_000)
            .count()
    }

    #[test]
    fn after_a_burst_requests_pass_at_the_rate() {
        let mut bucket = TokenBucket::new(500, 1000.0);
        assert_eq!(take_all(&mut bucket, START), 500);
        assert_eq!(take_all(&mut bucket, START + 20 * MILLI), 20);
        assert_eq!(take_all(&mut bucket, START + 3600 * SECOND), 500);
    }

    #[test]
    fn fractions_of_a_token_are_not_lost() {
        for per_second in [0.3, 3.0, 7.0, 333.3] {
            let mut bucket = TokenBucket::new(100, per_second);
            let taken: usize = (0..=1000_u32)
                .map(|tenths| take_all(&mut bucket, START + tenths * 100 * MILLI))
                .sum();
            let expected = 100.0 + 100.0 * per_second;
            assert!(
                (taken as f64 - expected).abs() <= 1.0,
                "{per_second}: {taken}"
            );
        }
    }

    #[test]
    fn turns_are_reserved_one_after_the_other_within_the_longest_wait() {
        let mut bucket = TokenBucket::new(10, 2.0);
        take_all(&mut bucket, START);
        assert_eq!(bucket.reserve(START, SECOND), Some(SECOND / 2));
        assert_eq!(bucket.reserve(START, SECOND), Some(SECOND));
        assert_eq!(bucket.reserve(START, SECOND), None);
        assert_eq!(bucket.ready_at(START), START + 1500 * MILLI);
        assert!(bucket.try_take(START + 2 * SECOND));
    }

    #[test]
    fn the_wait_for_several_tokens_is_that_for_the_last_of_them() {
        let mut bucket = TokenBucket::new(2, 2.0);
        let waits = [1, 2, 3, 5].map(|count| bucket.wait_for(START, count));
        assert_eq!(
            waits,
            [Duration::ZERO, Duration::ZERO, SECOND / 2, 3 * SECOND / 2]
        );
        take_all(&mut bucket, START);
        assert_eq!(bucket.wait_for(START, 1), SECOND / 2);
        assert_eq!(bucket.wait_for(START, 4), 2 * SECOND);
    }

    #[test]
    fn a_token_that_is_given_back_can_be_taken_again() {
        let mut bucket = TokenBucket::new(2, 0.1);
        take_all(&mut bucket, START);
        bucket.refund(START);
        assert_eq!(take_all(&mut bucket, START), 1);
        for _ in 0..100 {
            bucket.refund(START);
        }
        assert!(bucket.is_full(START));
        assert_eq!(take_all(&mut bucket, START), 2, "never more than the burst");
    }

    #[test]
    fn slack_makes_up_for_timers_that_fire_late() {
        let paced = |slack| {
            let mut bucket = TokenBucket::new(1, 10.0).with_slack(slack);
            let (mut now, mut taken) = (START, 0);
            while now < START + 100 * SECOND {
                assert!(bucket.try_take(now));
                taken += 1;
                now = bucket.ready_at(now) + 3 * MILLI;
            }
            taken
        };
        assert!(paced(Duration::ZERO) < 980);
        assert!((1000..=1001).contains(&paced(50 * MILLI)));
    }

    #[test]
    fn the_rate_can_change_and_tokens_owed_stay_owed() {
        let mut bucket = TokenBucket::new(1, 1.0);
        take_all(&mut bucket, START);
        bucket.reserve(START, SECOND);
        bucket.set_rate(START, 4.0);
        assert_eq!(bucket.ready_at(START), START + SECOND / 2);
        bucket.set_rate(START, f64::INFINITY);
        assert_eq!(take_all(&mut bucket, START), 10_000);
        bucket.set_rate(START, 1.0);
        assert_eq!(take_all(&mut bucket, START), 1);
    }

    #[test]
    fn nothing_passes_before_the_end_of_a_block_and_one_token_at_it() {
        let mut bucket = TokenBucket::new(5, 1.0);
        bucket.block_until(START, START + 3 * SECOND);
        assert_eq!(bucket.ready_at(START), START + 3 * SECOND);
        assert_eq!(take_all(&mut bucket, START + 2 * SECOND), 0);
        assert_eq!(take_all(&mut bucket, START + 3 * SECOND), 1);
    }

    #[test]
    fn a_clock_that_is_stepped_back_refills_nothing_and_leaves_no_longer_debt() {
        let mut bucket = TokenBucket::new(10, 2.0);
        take_all(&mut bucket, START);
        let hour_ago = START - 3600 * SECOND;
        assert!(!bucket.try_take(hour_ago));
        assert_eq!(bucket.ready_at(hour_ago), hour_ago + SECOND / 2);
    }

    #[test]
    fn a_bucket_that_is_only_read_after_a_step_back_is_refilled_from_when_it_was_noticed() {
        let mut bucket = TokenBucket::new(10, 2.0);
        take_all(&mut bucket, START);
        let hour_ago = START - 3600 * SECOND;
        bucket.notice_step(hour_ago);
        assert_eq!(bucket.wait_for(hour_ago, 1), SECOND / 2);
        assert_eq!(bucket.wait_for(hour_ago + SECOND / 2, 1), Duration::ZERO);
        bucket.notice_step(hour_ago + SECOND / 2);
        assert_eq!(take_all(&mut bucket, hour_ago + SECOND), 2);
    }

    #[test]
    fn a_rate_of_next_to_nothing_is_a_bucket_that_hardly_refills() {
        for rate in [0.0, -1.0, 1e-19, f64::MIN_POSITIVE, f64::NAN] {
            let mut bucket = TokenBucket::new(2, rate);
            assert_eq!(take_all(&mut bucket, START), 2, "{rate}");
            assert_eq!(take_all(&mut bucket, START + 60 * SECOND), 0, "{rate}");
        }
        let mut nothing = TokenBucket::new(0, 1000.0);
        assert_eq!(take_all(&mut nothing, START + SECOND), 0);
    }
}
