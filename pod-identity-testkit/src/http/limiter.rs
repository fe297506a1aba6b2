use std::sync::Mutex;
use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::sync::lock;

/// A token bucket by the mock's clock.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    burst: u32,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request, so that every millisecond of the clock counts.
    thousandths: u64,
    at: Timestamp,
}

impl Limiter {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            bucket: Mutex::new(None),
        }
    }

    /// Whether a request may pass now.
    pub(crate) fn allows(&self, now: Timestamp) -> bool {
        let mut bucket = lock(&self.bucket);
        let full = u64::from(self.burst) * 1000;
        let before = bucket.unwrap_or(Bucket {
            thousandths: full,
            at: now,
        });
        let filled = before.thousandths + self.filled(now.saturating_since(before.at));
        let left = filled.min(full).checked_sub(1000);
        *bucket = Some(Bucket {
            thousandths: left.unwrap_or(filled),
            at: now,
        });
        left.is_some()
    }

    fn filled(&self, time: Duration) -> u64 {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        millis
            .saturating_mul(u64::from(self.per_second))
            .min(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_per_second() {
        let limiter = Limiter::new(1000, 500);
        let passed = |now, tries| (0..tries).filter(|_| limiter.allows(now)).count();
        let start = Timestamp::from_unix_secs(1_772_366_400);
        assert_eq!(passed(start, 600), 500);
        assert_eq!(passed(start + Duration::from_millis(20), 600), 20);
        assert_eq!(passed(start, 10), 0, "the clock went back");
        assert_eq!(passed(start + Duration::from_secs(3600), 600), 500);
    }
}
