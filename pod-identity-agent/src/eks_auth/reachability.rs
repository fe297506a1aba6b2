use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::Failure;
use tokio::time::Instant;

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::telemetry::readiness::{Readiness, ReadinessBlocker};

/// Whether EKS Auth is within reach, as exchanges and probes have found; blocks readiness until it is.
#[derive(Debug)]
pub(crate) struct Reachability {
    blocker: ReadinessBlocker,
    /// Held for one change. The blocker's lock is taken under it, never the other way round.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unreachable: bool,
    /// When an exchange last found EKS Auth out of reach.
    failed_at: Option<Instant>,
}

impl Reachability {
    pub(crate) fn new(readiness: &Arc<Readiness>) -> Self {
        Self {
            blocker: readiness.blocker("EKS Auth has not been reached yet"),
            state: Mutex::default(),
        }
    }

    /// Whether EKS Auth, or the way to it, was last found to fail.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.lock().unreachable
    }

    /// Whether EKS Auth has been within reach at least once.
    pub(crate) fn was_reached(&self) -> bool {
        self.blocker.was_released()
    }

    /// Whether only a probe can tell: EKS Auth has not been reached yet, or it failed and there has been
    /// no exchange for a while that would have shown whether it still does.
    pub(crate) fn needs_probe(&self) -> bool {
        let state = self.lock();
        let failed_lately = state
            .failed_at
            .is_some_and(|at| at.elapsed() < EXCHANGES_STOPPED);
        !self.blocker.was_released() || state.unreachable && !failed_lately
    }

    pub(crate) fn mark_reachable(&self) {
        let mut state = self.lock();
        state.unreachable = false;
        self.blocker.release();
    }

    pub(crate) fn mark_unreachable(&self, reason: String) {
        self.fail(&mut self.lock(), reason);
    }

    fn fail(&self, state: &mut State, reason: String) {
        state.unreachable = true;
        self.blocker.block(reason);
    }

    /// Takes note of an exchange. Every answer shows that EKS Auth is within reach, a refusal too.
    pub(crate) fn note(&self, result: &Result<Session, Failure<EksAuthError>>) {
        match result {
            Err(Failure {
                error: error @ EksAuthError::Unreachable(_),
                ..
            }) => {
                let mut state = self.lock();
                state.failed_at = Some(Instant::now());
                self.fail(&mut state, error.to_string());
            }
            _ => self.mark_reachable(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that somebody waits for is exchanged again within 30 s of a failure: after twice as long
/// without an exchange, nobody waits for one any more.
const EXCHANGES_STOPPED: Duration = Duration::from_secs(60);
