use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::wire::agent;
use pod_identity_core::{
    Asked, CacheAttempt, CacheLimits, ClaimError, Clock, Expiring, Failure, FailureClass,
    RefreshPolicy, Secret, ServiceAccountToken, Slot, SlotCache, Ticket, Timestamp, TokenDigest,
    TokenError,
};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};

use crate::eks_auth::{EksAuthError, Session};
use crate::outage::Spoken;

/// The prepared answers of all tokens, fetched and refreshed.
///
/// One cache for all addresses of the agent. A fetch belongs to the cache, not to the client that caused
/// it: whoever gives up finds the answer when it comes back.
pub(crate) struct CredentialCache {
    eks_auth: Spoken,
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
    pub(crate) seed: u64,
}

/// Why a client gets no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    Token(TokenError),
    Claims(ClaimError),
    /// EKS Auth said no, or what it sent cannot be used.
    EksAuth(EksAuthError),
    /// No answer in time; the last thing that went wrong.
    Late(Option<EksAuthError>),
    /// Too many tokens are waiting already.
    Busy,
}

impl CredentialCache {
    pub(crate) fn new(eks_auth: Spoken, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let policy = Arc::new(settings.policy.clone());
        let cache = SlotCache::new(policy, settings.limits.clone(), settings.seed);
        Self {
            eks_auth,
            clock,
            settings,
            state: Mutex::new(State {
                cache,
                waiters: HashMap::new(),
            }),
            wake: Notify::new(),
        }
    }

    /// The prepared body for a token, and whether it was at hand.
    pub(crate) async fn answer(
        &self,
        token: &str,
        source: IpAddr,
    ) -> Result<(Bytes, Lookup), Denial> {
        let digest = TokenDigest::of(token.as_bytes());
        let outcome = match self.ask_known(digest, source)? {
            Some(asked) => asked,
            None => self.ask_unknown(digest, token, source)?,
        };
        match outcome {
            Found::Body { body, due } => {
                if due {
                    self.wake.notify_one();
                }
                Ok((body, Lookup::Hit))
            }
            Found::Waiting(outcome) => {
                self.wake.notify_one();
                let body = self.wait(digest, outcome).await?;
                Ok((body, Lookup::Miss))
            }
        }
    }

    /// Fetches what is wanted until dropped. The one owner of all fetches.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut fetches = JoinSet::new();
        let mut running: HashMap<Id, CacheAttempt<TokenDigest>> = HashMap::new();
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
                    if let Some(attempt) = running.remove(&id) {
                        self.lock().finish(attempt, self.clock.now(), result);
                    }
                }
            }
        }
    }

    /// Starts every fetch that is wanted and has room; returns how long there is nothing to do.
    fn start_wanted(
        self: &Arc<Self>,
        fetches: &mut JoinSet<Result<Entry, Failure<EksAuthError>>>,
        running: &mut HashMap<Id, CacheAttempt<TokenDigest>>,
    ) -> Duration {
        let mut state = self.lock();
        let now = self.clock.now();
        state.handle_timeout(now);
        while running.len() < MAX_IN_FLIGHT {
            let Some((attempt, request)) = state.cache.poll_fetch(now) else {
                break;
            };
            let token = request.token.clone();
            let this = Arc::clone(self);
            let started = fetches.spawn(async move { this.fetch(&token, attempt.timeout()).await });
            running.insert(started.id(), attempt);
        }
        let next = state.cache.poll_timeout().unwrap_or(Timestamp::MAX);
        next.saturating_since(now)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    async fn fetch(
        &self,
        token: &Secret,
        timeout: Duration,
    ) -> Result<Entry, Failure<EksAuthError>> {
        let result = self.eks_auth.assume_role(token, timeout).await;
        result.map(Entry::from)
    }

    /// For a token that has been seen: its claims were read then, but the time has gone on.
    fn ask_known(&self, digest: TokenDigest, source: IpAddr) -> Result<Option<Found>, Denial> {
        let mut state = self.lock();
        let now = self.clock.now();
        let Some(request) = state.cache.request(&digest) else {
            return Ok(None);
        };
        request.check(now).map_err(Denial::Claims)?;
        state
            .ask(now, digest, source, || {
                unreachable!("a known token must not be parsed again")
            })
            .map(Some)
    }

    fn ask_unknown(
        &self,
        digest: TokenDigest,
        token: &str,
        source: IpAddr,
    ) -> Result<Found, Denial> {
        let token = ServiceAccountToken::parse(token).map_err(Denial::Token)?;
        let now = self.clock.now();
        token
            .claims()
            .check(now, NOT_BEFORE_LEEWAY, &self.settings.audience)
            .map_err(Denial::Claims)?;
        self.lock()
            .ask(now, digest, source, || TokenRequest::from(&token))
    }

    async fn wait(
        &self,
        digest: TokenDigest,
        mut outcome: watch::Receiver<Option<Outcome>>,
    ) -> Result<Bytes, Denial> {
        let settled = tokio::time::timeout(
            self.settings.answer_within,
            outcome.wait_for(Option::is_some),
        )
        .await;
        if let Ok(Ok(settled)) = settled
            && let Some(outcome) = settled.clone()
        {
            return outcome.map_err(|error| match error.is_own_answer() {
                true => Denial::EksAuth(error),
                false => Denial::Late(Some(error)),
            });
        }
        let state = self.lock();
        Err(Denial::Late(state.cache.last_error(&digest).cloned()))
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

/// Whether an answer was at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Hit,
    Miss,
}

type Outcome = Result<Bytes, EksAuthError>;

enum Found {
    Body {
        body: Bytes,
        /// The ask may have found that a refresh is due before the timer did: the node slept.
        due: bool,
    },
    Waiting(watch::Receiver<Option<Outcome>>),
}

struct State {
    cache: SlotCache<TokenDigest, TokenRequest, Entry, EksAuthError>,
    waiters: HashMap<TokenDigest, Waiters>,
}

/// All who wait for one fetch; dropping the sender tells them that there will be no outcome.
struct Waiters {
    ticket: Ticket,
    outcome: watch::Sender<Option<Outcome>>,
}

impl State {
    fn ask(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        source: IpAddr,
        request: impl FnOnce() -> TokenRequest,
    ) -> Result<Found, Denial> {
        match self.cache.ask(now, digest, source, request) {
            Asked::Ready(entry) => {
                let body = entry.body.clone();
                let due = self.cache.peek(&digest).is_some_and(Slot::is_fetching);
                Ok(Found::Body { body, due })
            }
            Asked::Full => Err(Denial::Busy),
            Asked::Pending(ticket) => {
                let waiters = self.waiters.entry(digest).or_insert_with(|| Waiters {
                    ticket,
                    outcome: watch::channel(None).0,
                });
                waiters.ticket = ticket;
                Ok(Found::Waiting(waiters.outcome.subscribe()))
            }
        }
    }

    fn finish(
        &mut self,
        attempt: CacheAttempt<TokenDigest>,
        now: Timestamp,
        result: Result<Entry, Failure<EksAuthError>>,
    ) {
        self.cache.handle_fetched(attempt, now, result);
        self.tell(&attempt.key());
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        for key in self.cache.handle_timeout(now) {
            self.tell(&key);
        }
        // Slots that were evicted take their waiters along.
        if self.waiters.len() > self.cache.empty_len() {
            let cache = &self.cache;
            self.waiters.retain(|key, _| cache.peek(key).is_some());
        }
    }

    /// Hands the outcome to those who wait for it, if there is one now.
    fn tell(&mut self, key: &TokenDigest) {
        let Some(waiters) = self.waiters.get(key) else {
            return;
        };
        let Some(outcome) = self.cache.outcome(key, waiters.ticket) else {
            return;
        };
        let outcome = outcome
            .map(|entry| entry.body.clone())
            .map_err(Clone::clone);
        waiters.outcome.send_replace(Some(outcome));
        self.waiters.remove(key);
    }
}

/// What is kept of a token: itself, to ask again, and when it may be used.
struct TokenRequest {
    token: Secret,
    expires: Timestamp,
    not_before: Option<Timestamp>,
}

impl TokenRequest {
    fn check(&self, now: Timestamp) -> Result<(), ClaimError> {
        if now >= self.expires {
            Err(ClaimError::Expired)
        } else if self
            .not_before
            .is_some_and(|start| now + NOT_BEFORE_LEEWAY < start)
        {
            Err(ClaimError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

impl From<&ServiceAccountToken> for TokenRequest {
    fn from(token: &ServiceAccountToken) -> Self {
        Self {
            token: Secret::from(token.expose().to_owned()),
            expires: token.claims().expires_at,
            not_before: token.claims().not_before,
        }
    }
}

impl Expiring for TokenRequest {
    fn expiration(&self) -> Timestamp {
        self.expires
    }
}

/// What is kept of a session: the answer, ready to send. Its memory is overwritten with the last clone.
struct Entry {
    body: Bytes,
    expires: Timestamp,
}

impl From<Session> for Entry {
    fn from(session: Session) -> Self {
        Self {
            body: Bytes::from_owner(agent::encode(&session.credentials)),
            expires: session.credentials.expiration(),
        }
    }
}

impl Expiring for Entry {
    fn expiration(&self) -> Timestamp {
        self.expires
    }
}

/// The clock of a node may be behind the API server's by this much.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

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
