use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pod_identity_core::Attempt;
use tokio::time::{Instant, timeout};

/// Tells whether an attempt is polled: it beats while the attempt's runtime is driven.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU32>);

impl Pulse {
    /// Polls `future` to its end and beats meanwhile. Returns its output, and whether it was not polled for
    /// [`UNPOLLED`] in between.
    pub(crate) async fn accompany<F: Future>(&self, future: F) -> (F::Output, bool) {
        let mut future = std::pin::pin!(future);
        let mut polled = Instant::now();
        let mut is_stalled = false;
        loop {
            let output = timeout(BEAT, future.as_mut()).await.ok();
            is_stalled |= polled.elapsed() > UNPOLLED;
            polled = Instant::now();
            match output {
                Some(output) => return (output, is_stalled),
                // Relaxed: the count itself is all that is read, and a late beat costs nothing but a
                // second request.
                None => drop(self.0.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    fn beats(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Finds out, for a caller that waits, that the runtime of an attempt is not driven.
#[derive(Debug, Default)]
pub(crate) struct StallDetector {
    seen: Option<(Attempt, u32, Instant)>,
}

/// What a caller knows of an attempt on another runtime.
pub(crate) enum Stall {
    /// There is no such attempt.
    None,
    /// There is one, and it may be stalled.
    Possible,
    /// It has not beaten for as long as it may.
    Found(Attempt),
}

impl StallDetector {
    pub(crate) fn check(&mut self, attempt: Option<(Attempt, Pulse, Duration)>) -> Stall {
        let Some((attempt, pulse, patience)) = attempt else {
            self.seen = None;
            return Stall::None;
        };
        let beats = pulse.beats();
        match self.seen {
            Some((seen, before, since)) if (seen, before) == (attempt, beats) => {
                if since.elapsed() >= patience {
                    return Stall::Found(attempt);
                }
            }
            _ => self.seen = Some((attempt, beats, Instant::now())),
        }
        Stall::Possible
    }
}

/// How often an attempt beats.
const BEAT: Duration = Duration::from_millis(20);

/// An attempt on another runtime that has not beaten for this long is taken over, so that the first runtime that
/// nobody drives costs a caller less than 100 ms. Four beats: a runtime that is only busy is taken for
/// stalled at the price of a second request. Attempts after one that was taken over have longer, so that busy
/// runtimes do not take a slow fetch from each other for ever.
pub(crate) const STALLED: Duration = Duration::from_millis(80);

/// The failure of an attempt that was not polled for this long is not the agent's.
const UNPOLLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use pod_identity_core::{Credentials, RefreshPolicy, Slot, SlotError, Timestamp};
    use tokio::time::{advance, sleep};

    use super::*;

    /// Two attempts, one after the other.
    fn attempts() -> [Attempt; 2] {
        let policy = Arc::new(RefreshPolicy::provider());
        let mut slot = Slot::<Credentials, SlotError>::new(policy, 7);
        [0, 3600].map(|secs| {
            let now = Timestamp::from_unix_secs(secs);
            slot.handle_timeout(now);
            slot.refresh(now);
            slot.poll_fetch(now).unwrap()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_polled_beats_every_20_ms_and_is_not_stalled() {
        let pulse = Pulse::default();
        let future = async {
            sleep(Duration::from_millis(110)).await;
            7
        };
        assert_eq!(pulse.accompany(future).await, (7, false));
        assert_eq!(pulse.beats(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_was_not_polled_for_more_than_a_second_is_stalled() {
        for (unpolled, is_stalled) in [(1000, false), (1001, true)] {
            let future = advance(Duration::from_millis(unpolled));
            assert_eq!(Pulse::default().accompany(future).await.1, is_stalled);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_has_not_beaten_for_80_ms_is_found() {
        let [attempt, other] = attempts();
        let pulse = Pulse::default();
        let mut detector = StallDetector::default();
        let mut is_found = |attempt| {
            let stall = detector.check(Some((attempt, pulse.clone(), STALLED)));
            assert!(!matches!(stall, Stall::None));
            matches!(stall, Stall::Found(found) if found == attempt)
        };
        assert!(!is_found(attempt));
        advance(Duration::from_millis(79)).await;
        assert!(!is_found(attempt));
        advance(Duration::from_millis(1)).await;
        assert!(is_found(attempt));
        assert!(!is_found(other), "another attempt has its own time");
        advance(STALLED).await;
        assert!(is_found(other));
        pulse.0.fetch_add(1, Ordering::Relaxed);
        assert!(!is_found(other), "it has beaten");
        advance(STALLED).await;
        assert!(is_found(other));
        assert!(matches!(detector.check(None), Stall::None));
        let again = detector.check(Some((other, pulse, STALLED)));
        assert!(matches!(again, Stall::Possible), "it was gone meanwhile");
    }
}
