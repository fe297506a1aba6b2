use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashlink::LinkedHashMap;
use pod_identity_core::{
    Asked, CacheAttempt, Expiring, Failure, FailureClass, Secret, Slot, SlotCache, Ticket,
    Timestamp, TokenDigest,
};
use tokio::sync::watch;

use crate::credentials::cache::{Denial, Settings};
use crate::credentials::entry::{Entry, TokenRequest};
use crate::credentials::rate_limit::Budgets;
use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::pace::UpstreamPace;
use crate::telemetry::metrics::Reading;

/// All that changes: the slots, who waits for them, and what bounds the exchanges with EKS Auth.
///
/// Every method is short and does no I/O; the time is an argument.
pub(crate) struct State {
    cache: SlotCache<TokenDigest, TokenRequest, Entry, EksAuthError>,
    waiters: HashMap<TokenDigest, Waiters>,
    budgets: Budgets,
    refusals: Refusals,
    pace: UpstreamPace,
}

/// What a client gets at once: the answer, or the place where it will be.
pub(crate) enum Found {
    /// `due`: a refresh is wanted or under way.
    Body {
        body: Bytes,
        due: bool,
    },
    Waiting(watch::Receiver<Option<Outcome>>),
}

/// What those who waited are told.
pub(crate) type Outcome = Result<Bytes, EksAuthError>;

/// The cache's answer, without its borrow.
enum Told {
    Body(Bytes),
    Wait(Ticket),
    Full,
}

impl From<Asked<'_, Entry>> for Told {
    fn from(asked: Asked<'_, Entry>) -> Self {
        match asked {
            Asked::Ready(entry) => Self::Body(entry.body.clone()),
            Asked::Pending(ticket) => Self::Wait(ticket),
            Asked::Full => Self::Full,
        }
    }
}

/// A fetch that is under way.
pub(crate) struct Running {
    pub(crate) attempt: CacheAttempt<TokenDigest>,
    began: Timestamp,
}

/// All who wait for one fetch; dropping the sender tells them that there will be no outcome.
struct Waiters {
    ticket: Ticket,
    outcome: watch::Sender<Option<Outcome>>,
}

impl State {
    pub(crate) fn new(settings: &Settings) -> Self {
        let policy = Arc::new(settings.policy.clone());
        let addresses = settings.node_addresses.iter().copied();
        Self {
            cache: SlotCache::new(policy, settings.limits.clone(), settings.seed),
            waiters: HashMap::new(),
            budgets: Budgets::new(settings.pod_budget, settings.node_budget, addresses),
            refusals: Refusals::default(),
            pace: UpstreamPace::new(),
        }
    }

    /// What is at hand for a token, if nothing else is to be done.
    pub(crate) fn hit(
        &mut self,
        now: Timestamp,
        digest: &TokenDigest,
    ) -> Option<Result<Bytes, Denial>> {
        let (request, entry) = self.cache.hit(now, digest)?;
        let checked = request.check(now).map_err(Denial::Claims);
        Some(checked.map(|()| entry.body.clone()))
    }

    /// For a token that has been seen and may still be used; `None` where the answer costs an exchange
    /// that has not begun.
    pub(crate) fn ask_known(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
    ) -> Result<Option<Found>, Denial> {
        let Some(request) = self.cache.request(&digest) else {
            return Ok(None);
        };
        request.check(now).map_err(Denial::Claims)?;
        let costs_nothing = |slot: &Slot<_, _>| slot.is_usable(now) || slot.is_under_way();
        if !self.cache.peek(&digest).is_some_and(costs_nothing) {
            return Ok(None);
        }
        let told = self.cache.ask_again(now, digest).map(Told::from);
        told.map(|told| self.found(digest, told)).transpose()
    }

    pub(crate) fn ask(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        source: IpAddr,
        request: impl FnOnce() -> TokenRequest,
    ) -> Result<Found, Denial> {
        let told = Told::from(self.cache.ask(now, digest, source, request));
        self.found(digest, told)
    }

    fn found(&mut self, digest: TokenDigest, told: Told) -> Result<Found, Denial> {
        match told {
            Told::Body(body) => {
                let due = self.cache.peek(&digest).is_some_and(Slot::is_fetching);
                Ok(Found::Body { body, due })
            }
            Told::Full => Err(Denial::Busy),
            Told::Wait(ticket) => {
                let waiters = self.waiters.entry(digest).or_insert_with(|| Waiters {
                    ticket,
                    outcome: watch::channel(None).0,
                });
                waiters.ticket = ticket;
                Ok(Found::Waiting(waiters.outcome.subscribe()))
            }
        }
    }

    /// Takes an exchange out of the source's budget: how long to wait for its turn. Over budget, a token
    /// that was refused a moment ago is told so again: the pod is to see the real cause.
    pub(crate) fn spend(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        source: IpAddr,
        patience: Duration,
    ) -> Result<Duration, Denial> {
        let turn = self.budgets.spend(now, source, patience);
        turn.ok_or_else(|| Denial::OverBudget(self.refusals.recent(&digest, now)))
    }

    /// The latest failure of a token since its latest success.
    pub(crate) fn last_error(&self, digest: &TokenDigest) -> Option<EksAuthError> {
        self.cache.last_error(digest).cloned()
    }

    /// How long until EKS Auth is asked for this token again: the service may wish to be left alone, or
    /// the token rests after a failure.
    pub(crate) fn again_in(&self, now: Timestamp, digest: &TokenDigest) -> Duration {
        let resting = self.cache.peek(digest).filter(|slot| slot.is_resting());
        let rest = resting.and_then(Slot::poll_timeout);
        let rest = rest.map_or(Duration::ZERO, |end| end.saturating_since(now));
        rest.max(self.pace.quiet_for(now))
    }

    /// A fetch to start now, as fast as EKS Auth grants it.
    pub(crate) fn poll_fetch(&mut self, now: Timestamp) -> Option<(Running, Secret, IpAddr)> {
        self.pace.ready(now).ok()?;
        let (attempt, request) = self.cache.poll_fetch(now)?;
        self.pace.started(now);
        let running = Running {
            attempt,
            began: now,
        };
        Some((running, request.token.clone(), request.source))
    }

    pub(crate) fn finish(
        &mut self,
        fetch: &Running,
        now: Timestamp,
        result: Result<Entry, Failure<EksAuthError>>,
    ) {
        let digest = fetch.attempt.key();
        match &result {
            Ok(_) => self.pace.answered(now),
            Err(failure) if failure.class == FailureClass::Throttled => {
                self.pace.throttled(fetch.began, now, failure.retry_after);
            }
            Err(failure) if failure.error.is_own_answer() => {
                self.pace.answered(now);
                self.refusals.note(digest, now, failure.error.clone());
            }
            Err(_no_answer) => {}
        }
        self.cache.handle_fetched(fetch.attempt, now, result);
        self.tell(&digest);
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        for digest in self.cache.handle_timeout(now) {
            self.tell(&digest);
        }
        // Slots that were evicted take their waiters along.
        if self.waiters.len() > self.cache.empty_len() {
            let cache = &self.cache;
            self.waiters
                .retain(|digest, _| cache.peek(digest).is_some());
        }
    }

    pub(crate) fn poll_timeout(&mut self, now: Timestamp) -> Option<Timestamp> {
        let paced = self.pace.ready(now).err();
        let timeout = self.cache.poll_timeout();
        match (paced, timeout) {
            (Some(paced), Some(timeout)) => Some(paced.min(timeout)),
            (paced, timeout) => paced.or(timeout),
        }
    }

    /// A look at everything, for the metrics.
    pub(crate) fn reading(&self, now: Timestamp) -> Reading {
        let held = || self.cache.iter_held().map(|(_, slot)| slot);
        let due = held().filter_map(|slot| slot.due_at()).min();
        let expires = held()
            .filter_map(|slot| slot.held())
            .map(Expiring::expiration)
            .min();
        Reading {
            cached: self.cache.held_len(),
            waiting: self.cache.empty_len(),
            evicted: self.cache.evicted(),
            refresh_lag: due.map_or(Duration::ZERO, |due| now.saturating_since(due)),
            shortest_life: expires.map_or(Duration::ZERO, |expires| expires.saturating_since(now)),
            upstream_rate: self.pace.limit(),
            ..Reading::default()
        }
    }

    /// Hands the outcome to those who wait for it, if there is one now.
    fn tell(&mut self, digest: &TokenDigest) {
        let Some(waiters) = self.waiters.get(digest) else {
            return;
        };
        let Some(outcome) = self.cache.outcome(digest, waiters.ticket) else {
            return;
        };
        let outcome = outcome
            .map(|entry| entry.body.clone())
            .map_err(Clone::clone);
        waiters.outcome.send_replace(Some(outcome));
        self.waiters.remove(digest);
    }
}

/// The refusals of the last seconds, bounded; the oldest are forgotten first.
#[derive(Default)]
struct Refusals(LinkedHashMap<TokenDigest, (Timestamp, EksAuthError)>);

impl Refusals {
    fn note(&mut self, digest: TokenDigest, now: Timestamp, error: EksAuthError) {
        self.0.insert(digest, (now, error));
        if self.0.len() > MOST_REFUSALS {
            self.0.pop_front();
        }
    }

    fn recent(&self, digest: &TokenDigest, now: Timestamp) -> Option<EksAuthError> {
        let (at, error) = self.0.get(digest)?;
        (now.saturating_since(*at) < REFUSAL_IS_RECENT).then(|| error.clone())
    }
}

const MOST_REFUSALS: usize = 1024;

const REFUSAL_IS_RECENT: Duration = Duration::from_secs(10);
