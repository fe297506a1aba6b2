use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::{
    CacheLimits, ClaimError, Clock, Failure, FailureClass, RefreshPolicy, ServiceAccountToken,
    Timestamp, TokenDigest, TokenError,
};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::credentials::at_hand::{AtHand, later, now};
use crate::credentials::entry::{Entry, NOT_BEFORE_LEEWAY, TokenRequest};
use crate::credentials::rate_limit::Budget;
use crate::credentials::state::{Found, Outcome, Running, State};
use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::upstream::Upstream;
use crate::telemetry::metrics::Reading;

/// The prepared answers of all tokens, fetched and refreshed.
///
/// One cache for all addresses of the agent. A fetch belongs to the cache, not to the client that caused
/// it: whoever gives up finds the answer when it comes back.
pub(crate) struct CredentialCache {
    upstream: Arc<Upstream>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Held for a look-up or a change of state, never across an await or a fetch.
    state: Mutex<State>,
    /// Something is to be fetched.
    wake: Notify,
}

/// What the cache is told once.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) audience: String,
    pub(crate) answer_within: Duration,
    pub(crate) policy: RefreshPolicy,
    pub(crate) limits: CacheLimits,
    pub(crate) pod_budget: Budget,
    pub(crate) node_budget: Budget,
    pub(crate) node_addresses: Vec<IpAddr>,
    pub(crate) seed: u64,
}

/// Why a client gets no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    Token(TokenError),
    Claims(ClaimError),
    /// EKS Auth said no, or what it sent cannot be used.
    EksAuth(EksAuthError),
    /// No answer in time; the last thing that went wrong, and how long until EKS Auth is asked again.
    Late(Option<EksAuthError>, Duration),
    /// This source has caused too many exchanges lately; what EKS Auth said to this very token a moment
    /// ago, if it did.
    OverBudget(Option<EksAuthError>),
    /// Too many tokens are waiting already.
    Busy,
}

impl Denial {
    /// In a word, where EKS Auth was not asked; one of few.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Token(TokenError::Empty) => Some("Empty"),
            Self::Token(TokenError::Unsigned) => Some("Unsigned"),
            Self::Token(TokenError::NoExpiry) => Some("NoExpiry"),
            Self::Token(_) => Some("Malformed"),
            Self::Claims(ClaimError::Expired) => Some("Expired"),
            Self::Claims(ClaimError::NotYetValid) => Some("NotYetValid"),
            Self::Claims(_) => Some("Audience"),
            Self::OverBudget(_) => Some("OverBudget"),
            Self::Busy => Some("Busy"),
            Self::EksAuth(_) | Self::Late(..) => None,
        }
    }
}

impl Denial {
    /// The type and the error code, as labels of a metric.
    pub(crate) fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Token(_) | Self::Claims(_) => ("token", self.reason().unwrap_or("Malformed")),
            Self::EksAuth(error) | Self::Late(Some(error), _) => ("eks_auth", error.label()),
            Self::Late(None, _) => ("eks_auth", "Timeout"),
            Self::OverBudget(_) | Self::Busy => ("agent", self.reason().unwrap_or("Other")),
        }
    }
}

/// The prepared body, and whether it was at hand.
pub(crate) type Answered = Result<(Bytes, Lookup), Denial>;

/// Whether an answer was at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Hit,
    Miss,
}

impl CredentialCache {
    pub(crate) fn new(upstream: Arc<Upstream>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self {
            state: Mutex::new(State::new(&settings)),
            upstream,
            clock,
            settings,
            wake: Notify::new(),
        }
    }

    /// The prepared body for a token, and whether it was at hand.
    pub(crate) fn answer(&self, token: &[u8], source: IpAddr) -> AtHand<'_, Answered> {
        let digest = TokenDigest::of(token);
        let hit = self.lock().hit(self.clock.now(), &digest);
        if let Some(body) = hit {
            return now(body.map(|body| (body, Lookup::Hit)));
        }
        let known = self.lock().ask_known(self.clock.now(), digest);
        match known {
            Ok(Some(Found::Body { body, due })) => {
                now(Ok((self.handed_out(body, due), Lookup::Hit)))
            }
            Ok(Some(Found::Waiting(outcome))) => later(self.wait(digest, outcome, self.deadline())),
            Ok(None) => match self.checked(token) {
                Ok(token) => later(self.seek(digest, token, source)),
                Err(denial) => now(Err(denial)),
            },
            Err(denial) => now(Err(denial)),
        }
    }

    async fn seek(
        &self,
        digest: TokenDigest,
        token: ServiceAccountToken,
        source: IpAddr,
    ) -> Answered {
        let deadline = self.deadline();
        self.spend(digest, source).await?;
        let request = || TokenRequest::new(&token, source);
        let found = self.lock().ask(self.clock.now(), digest, source, request)?;
        match found {
            Found::Body { body, due } => Ok((self.handed_out(body, due), Lookup::Hit)),
            Found::Waiting(outcome) => self.wait(digest, outcome, deadline).await,
        }
    }

    /// Fetches what is wanted until dropped. The one owner of all fetches.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut fetches = JoinSet::new();
        let mut running: HashMap<Id, Running> = HashMap::new();
        loop {
            let sleep = self.start_wanted(&mut fetches, &mut running);
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
                Some(joined) = fetches.join_next_with_id() => {
                    let (id, result) = match joined {
                        Ok((id, result)) => (id, result),
                        Err(panicked) => (panicked.id(), Err(abandoned())),
                    };
                    if let Some(fetch) = running.remove(&id) {
                        self.lock().finish(&fetch, self.clock.now(), result);
                    }
                }
            }
        }
    }

    /// The state of the cache, for the metrics.
    pub(crate) fn reading(&self) -> Reading {
        self.lock().reading(self.clock.now())
    }

    /// Starts every fetch that is wanted and has room; returns how long there is nothing to do.
    fn start_wanted(
        self: &Arc<Self>,
        fetches: &mut JoinSet<Result<Entry, Failure<EksAuthError>>>,
        running: &mut HashMap<Id, Running>,
    ) -> Duration {
        let mut state = self.lock();
        let now = self.clock.now();
        state.handle_timeout(now);
        while running.len() < MAX_IN_FLIGHT {
            let Some((fetch, token, source)) = state.poll_fetch(now) else {
                break;
            };
            let (upstream, time) = (Arc::clone(&self.upstream), fetch.attempt.timeout());
            let started = fetches.spawn(async move {
                let result = upstream.assume_role(&token, source, time).await;
                result.map(Entry::from)
            });
            running.insert(started.id(), fetch);
        }
        let next = state.poll_timeout(now).unwrap_or(Timestamp::MAX);
        next.saturating_since(now)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// An ask may find that a refresh is due before the timer does: the node slept.
    fn handed_out(&self, body: Bytes, due: bool) -> Bytes {
        if due {
            self.wake.notify_one();
        }
        body
    }

    /// A token that has not been seen, if it is worth an exchange.
    fn checked(&self, token: &[u8]) -> Result<ServiceAccountToken, Denial> {
        let token = std::str::from_utf8(token).map_err(|_no_text| TokenError::Segments);
        let token = token.and_then(ServiceAccountToken::parse);
        let token = token.map_err(Denial::Token)?;
        token
            .claims()
            .check(self.clock.now(), NOT_BEFORE_LEEWAY, &self.settings.audience)
            .map_err(Denial::Claims)?;
        Ok(token)
    }

    /// Takes an exchange out of the source's budget, waiting for its turn if need be.
    async fn spend(&self, digest: TokenDigest, source: IpAddr) -> Result<(), Denial> {
        let patience = self.settings.answer_within;
        let turn = self
            .lock()
            .spend(self.clock.now(), digest, source, patience)?;
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
        Ok(())
    }

    async fn wait(
        &self,
        digest: TokenDigest,
        mut outcome: watch::Receiver<Option<Outcome>>,
        deadline: Instant,
    ) -> Answered {
        self.wake.notify_one();
        let settled = tokio::time::timeout_at(deadline, outcome.wait_for(Option::is_some)).await;
        let outcome = match settled {
            Ok(Ok(settled)) => settled.clone(),
            _ => None,
        };
        let error = match outcome {
            Some(Ok(body)) => return Ok((body, Lookup::Miss)),
            Some(Err(error)) if error.is_own_answer() => return Err(Denial::EksAuth(error)),
            Some(Err(error)) => Some(error),
            None => self.lock().last_error(&digest),
        };
        let again_in = self.lock().again_in(self.clock.now(), &digest);
        Err(Denial::Late(error, again_in))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.answer_within
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be a defect, but the node's credentials must outlive it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Fetches at once.
const MAX_IN_FLIGHT: usize = 32;

/// The wall clock is looked at this often at least, because it may be stepped and a node may sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A deadline that is reached, but must wait for room or pace, is looked at again after this.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

fn abandoned() -> Failure<EksAuthError> {
    let words = "the attempt ended without an answer; this is a defect".to_owned();
    Failure::new(FailureClass::Transient, EksAuthError::Unreachable(words))
}
