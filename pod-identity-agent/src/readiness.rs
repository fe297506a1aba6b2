use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::{Failure, Secret};
use tracing::{info, warn};

use crate::eks_auth::{Checking, EksAuth, EksAuthError, Exchange};

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

    fn reached(&self) -> bool {
        let mut state = self.state();
        state.trouble = None;
        !std::mem::replace(&mut state.reached, true)
    }

    fn troubled(&self, words: String) -> bool {
        self.state().trouble.replace(words).is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps [`Readiness`] informed by what becomes of exchanges, and until the first one by looking
/// whether EKS Auth is within reach. Wraps any [`EksAuth`].
#[derive(Debug)]
pub(crate) struct Observed<A> {
    inner: A,
    readiness: Arc<Readiness>,
}

impl<A: EksAuth> Observed<A> {
    pub(crate) fn new(inner: A, readiness: Arc<Readiness>) -> Self {
        Self { inner, readiness }
    }
}

impl<A: EksAuth> EksAuth for Observed<A> {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        Box::pin(async move {
            let result = self.inner.assume_role(token).await;
            match &result {
                Err(Failure {
                    error: EksAuthError::Unreachable(words),
                    ..
                }) => {
                    self.readiness
                        .troubled(format!("EKS Auth could not be asked: {words}"));
                }
                // Any answer, a refusal too, came from EKS Auth.
                _ => {
                    self.readiness.reached();
                }
            }
            result
        })
    }

    fn check(&self) -> Checking<'_> {
        self.inner.check()
    }
}

/// Looks every 5 s whether EKS Auth is within reach, until it has been once.
pub(crate) async fn look(eks_auth: Arc<dyn EksAuth>, readiness: Arc<Readiness>) {
    loop {
        let checked = tokio::time::timeout(TIME_FOR_A_CHECK, eks_auth.check()).await;
        if readiness.state().reached {
            return;
        }
        match checked.unwrap_or_else(|_elapsed| Err("no answer within 4 s".to_owned())) {
            Ok(()) => {
                readiness.reached();
                info!("EKS Auth is within reach");
                return;
            }
            Err(words) => {
                if readiness.troubled(words.clone()) {
                    warn!(
                        reason = words,
                        "not ready: EKS Auth is not within reach; looking again every 5 s"
                    );
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// As often as kubelet asks, by the official chart's probe.
const EVERY: Duration = Duration::from_secs(5);

const TIME_FOR_A_CHECK: Duration = Duration::from_secs(4);
