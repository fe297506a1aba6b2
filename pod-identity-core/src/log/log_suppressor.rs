use std::ops::Add;
use std::time::Duration;

/// Suppresses repeated log messages. The first occurrence is logged, then at most one line per interval, with the
/// number of suppressed occurrences. The recovery is logged once.
///
/// Time is an argument of any type that a `Duration` can be added to, such as
/// [`Timestamp`](crate::Timestamp) or an `Instant`. If the time goes back, the interval starts again.
///
/// If a problem recurs within the interval after a recovery, both the problem and its next recovery are
/// suppressed. If every other attempt fails, there is one pair of lines per interval and not one per attempt.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::{LogSuppressor, Timestamp};
///
/// let start = Timestamp::from_unix_secs(1_772_366_400);
/// let second = Duration::from_secs(1);
/// let mut suppressor = LogSuppressor::new(Duration::from_secs(60));
/// assert_eq!(suppressor.occurred(start), Some(0), "logged");
/// assert_eq!(suppressor.occurred(start + second), None);
/// assert_eq!(suppressor.occurred(start + 61 * second), Some(1), "logged: one was suppressed");
/// assert!(suppressor.recovered(), "logged");
/// assert!(!suppressor.recovered());
/// ```
#[derive(Debug, Clone)]
pub struct LogSuppressor<T> {
    interval: Duration,
    logged_at: Option<T>,
    suppressed: u64,
    /// Whether a problem has been logged, and its recovery has not.
    open: bool,
}

impl<T: Copy + PartialOrd + Add<Duration, Output = T>> LogSuppressor<T> {
    /// Creates a suppressor that allows one line per `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            logged_at: None,
            suppressed: 0,
            open: false,
        }
    }

    /// Takes note of an occurrence. Returns `Some` if it is to be logged, with the number of occurrences suppressed
    /// since the last line, and `None` if it is suppressed.
    pub fn occurred(&mut self, now: T) -> Option<u64> {
        if let Some(logged_at) = self.logged_at {
            if now < logged_at {
                self.logged_at = Some(now);
            }
            if !self.is_over(now) {
                self.suppressed = self.suppressed.saturating_add(1);
                return None;
            }
        }
        self.logged_at = Some(now);
        self.open = true;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Takes note of the recovery. Returns true if it is to be logged, which is when the problem was.
    pub fn recovered(&mut self) -> bool {
        std::mem::take(&mut self.open)
    }

    /// Returns whether an occurrence at `now` would be logged.
    pub(crate) fn is_over(&self, now: T) -> bool {
        self.logged_at
            .is_none_or(|logged_at| now >= logged_at + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn one_line_at_once_and_then_one_per_interval_with_the_number_suppressed() {
        let mut log = LogSuppressor::new(MINUTE);
        let mut at = |seconds: u32| log.occurred(START + seconds * SECOND);
        assert_eq!(at(0), Some(0));
        assert_eq!([1, 2, 59].map(&mut at), [None; 3]);
        assert_eq!(at(60), Some(3));
        assert_eq!([61, 119].map(&mut at), [None; 2]);
        assert_eq!(at(500), Some(2));
    }

    #[test]
    fn where_every_other_attempt_fails_there_is_one_pair_of_lines_per_interval() {
        let mut log = LogSuppressor::new(MINUTE);
        let (mut problems, mut recoveries) = (0, 0);
        for second in 0..120 {
            if second % 2 == 0 {
                problems += u32::from(log.occurred(START + second * SECOND).is_some());
            } else {
                recoveries += u32::from(log.recovered());
            }
        }
        assert_eq!((problems, recoveries), (2, 2));
    }

    #[test]
    fn a_clock_that_is_stepped_back_suppresses_for_one_interval_at_most() {
        let mut log = LogSuppressor::new(MINUTE);
        let hour_ago = START - 60 * MINUTE;
        assert_eq!(log.occurred(START), Some(0));
        assert_eq!(log.occurred(hour_ago), None);
        assert_eq!(log.occurred(hour_ago + MINUTE), Some(1));
    }
}
