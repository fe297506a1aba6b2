use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::Failure;
use tokio::time::Instant;

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::eks_auth::unavailable::Unavailable;
use crate::telemetry::readiness::{Readiness, ReadinessBlocker};

/// Whether EKS Auth is reachable, according to exchanges and probes. Blocks readiness until it is.
#[derive(Debug)]
pub(crate) struct Reachability {
    blocker: ReadinessBlocker,
    /// Held for one change. The blocker's lock is taken under it, never the other way round.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unreachable: bool,
    /// When the last exchange ended.
    exchanged_at: Option<Instant>,
    /// When an exchange last failed to reach EKS Auth.
    failed_at: Option<Instant>,
}

impl Reachability {
    pub(crate) fn new(readiness: &Arc<Readiness>) -> Self {
        Self {
            blocker: readiness.blocker("eks-auth", "EKS Auth has not been reached yet"),
            state: Mutex::default(),
        }
    }

    /// Returns whether EKS Auth was unreachable when last tried.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.lock().unreachable
    }

    /// Returns whether EKS Auth has been reached at least once.
    pub(crate) fn was_reached(&self) -> bool {
        self.blocker.was_released()
    }

    /// Returns whether a probe is needed: EKS Auth has not been reached yet, or it failed and there has been
    /// no exchange since that could show its recovery.
    pub(crate) fn needs_probe(&self) -> bool {
        let state = self.lock();
        let failed_lately = state
            .failed_at
            .is_some_and(|at| at.elapsed() < EXCHANGES_STOPPED);
        !self.blocker.was_released() || state.unreachable && !failed_lately
    }

    /// Records a probe that began at `began`. Returns false, and does nothing, if an exchange has ended since: that shows
    /// more than a connection does, and is newer.
    pub(crate) fn note_probe(&self, began: Instant, checked: &Result<(), Unavailable>) -> bool {
        let mut state = self.lock();
        if state.exchanged_at.is_some_and(|at| began <= at) {
            return false;
        }
        match checked {
            Ok(()) => self.succeed(&mut state),
            Err(reason) => self.fail(&mut state, reason.in_full(), reason.to_string()),
        }
        true
    }

    /// Records an exchange. Every answer shows that EKS Auth is reachable, even a refusal.
    pub(crate) fn note(&self, result: &Result<Session, Failure<EksAuthError>>) {
        let now = Instant::now();
        let mut state = self.lock();
        state.exchanged_at = Some(now);
        match result {
            Err(Failure {
                error: error @ EksAuthError::Unreachable(_),
                ..
            }) => {
                state.failed_at = Some(now);
                self.fail(&mut state, error.in_full(), error.to_string());
            }
            _ => self.succeed(&mut state),
        }
    }

    fn succeed(&self, state: &mut State) {
        state.unreachable = false;
        self.blocker.release();
    }

    fn fail(&self, state: &mut State, reason: String, for_pods: String) {
        state.unreachable = true;
        self.blocker.block_in_full(reason, for_pods);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While clients use a token, its exchange is retried within 30 s of a failure. After twice that time without
/// an exchange, there are no such clients.
const EXCHANGES_STOPPED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readiness_waits_for_eks_auth_and_knows_why() {
        let readiness = Readiness::new(true);
        let reachability = Reachability::new(&readiness);
        let note = |checked| assert!(reachability.note_probe(Instant::now(), &checked));
        assert!(!reachability.was_reached() && reachability.needs_probe());
        note(Err(Unavailable::other("no route")));
        assert!(reachability.is_unreachable() && !reachability.was_reached());
        assert_eq!(readiness.report().message, "no route");
        note(Ok(()));
        assert!(!reachability.is_unreachable() && reachability.was_reached());
        assert!(readiness.report().ready && !reachability.needs_probe());
        note(Err(Unavailable::other("no route")));
        assert!(reachability.was_reached() && reachability.needs_probe());
        assert_eq!(readiness.report().message, "degraded: no route");
    }
}
