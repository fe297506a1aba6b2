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
    /// It has not beaten for [`STALLED`].
    Found(Attempt),
}

impl StallDetector {
    pub(crate) fn check(&mut self, attempt: Option<(Attempt, Pulse)>) -> Stall {
        let Some((attempt, pulse)) = attempt else {
            self.seen = None;
            return Stall::None;
        };
        let beats = pulse.beats();
        match self.seen {
            Some((seen, before, since)) if (seen, before) == (attempt, beats) => {
                if since.elapsed() >= STALLED {
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

/// An attempt on another runtime that has not beaten for this long is taken over, so that a runtime that
/// nobody drives costs a caller less than 100 ms. Four beats: a runtime that is only busy is taken for
/// stalled at the price of a second request.
pub(crate) const STALLED: Duration = Duration::from_millis(80);

/// The failure of an attempt that was not polled for this long is not the agent's.
const UNPOLLED: Duration = Duration::from_secs(1);
