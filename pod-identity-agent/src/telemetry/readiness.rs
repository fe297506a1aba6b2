use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::Failure;
use tokio::time::Instant;

use crate::eks_auth::exchange::{EksAuthError, Session};

/// Whether pods can be sent here, and if not, why, in words.
///
/// Ready means: at least one credentials listener is up, and EKS Auth has been within reach once, with
/// credentials of the agent's own. A later outage leaves it ready, because what is cached is served;
/// the words then say what is wrong. In strict mode it does not.
#[derive(Debug)]
pub(crate) struct Readiness {
    strict: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listening: usize,
    /// Has been within reach once.
    reached: bool,
    /// What is wrong with EKS Auth, or with the way to it.
    trouble: Option<String>,
    /// When an exchange last met with trouble.
    met_at: Option<Instant>,
}

impl Readiness {
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            strict,
            state: Mutex::default(),
        }
    }

    /// Whether it is ready, and the reason or what is wrong all the same.
    pub(crate) fn report(&self) -> (bool, String) {
        let state = self.state();
        let reason = match &state.trouble {
            Some(trouble) => trouble.clone(),
            None if !state.reached => "EKS Auth has not been reached yet".to_owned(),
            None => String::new(),
        };
        match (state.listening, state.reached) {
            (0, _) => (
                false,
                "no credentials address can be listened on yet".to_owned(),
            ),
            (_, false) => (false, reason),
            (_, true) if reason.is_empty() => (true, "ok".to_owned()),
            (_, true) => (!self.strict, format!("degraded: {reason}")),
        }
    }

    /// Credentials listeners that are up.
    pub(crate) fn listening(&self) -> usize {
        self.state().listening
    }

    /// Whether something is wrong with EKS Auth or the way to it.
    pub(crate) fn is_degraded(&self) -> bool {
        self.state().trouble.is_some()
    }

    pub(crate) fn listener_up(&self) {
        self.state().listening += 1;
    }

    /// Whether EKS Auth has been within reach once.
    pub(crate) fn has_reached(&self) -> bool {
        self.state().reached
    }

    /// Whether only a look can tell that EKS Auth is within reach: it has not been yet, or was not and
    /// no exchange has shown since how it is now.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let state = self.state();
        let met_lately = state.met_at.is_some_and(|at| at.elapsed() < FORGOTTEN);
        !state.reached || state.trouble.is_some() && !met_lately
    }

    /// EKS Auth is within reach.
    pub(crate) fn reached(&self) {
        let mut state = self.state();
        state.trouble = None;
        state.reached = true;
    }

    /// EKS Auth is not within reach.
    pub(crate) fn troubled(&self, words: String) {
        self.state().trouble = Some(words);
    }

    /// Any answer shows that EKS Auth is within reach, a refusal too.
    pub(crate) fn note(&self, result: &Result<Session, Failure<EksAuthError>>) {
        match result {
            Err(Failure {
                error: error @ EksAuthError::Unreachable(_),
                ..
            }) => {
                let mut state = self.state();
                state.trouble = Some(error.to_string());
                state.met_at = Some(Instant::now());
            }
            _ => self.reached(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that is asked about in vain is asked about again within 30 s, as long as anybody wants it.
const FORGOTTEN: Duration = Duration::from_secs(60);
