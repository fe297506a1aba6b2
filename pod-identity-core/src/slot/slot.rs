use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::policy::{ServeExpired, Streak};
use crate::{Credentials, Failure, FailureClass, RefreshPolicy, Timestamp, TokenBucket};

/// The life of one set of credentials, as a deterministic state machine.
///
/// A slot is empty, wants a fetch, has an attempt in flight, holds a set, or rests after a failure. It does
/// nothing by itself: a driver reports events with `handle_*`, reads the next action with `poll_*`, and passes
/// the current time to both. `T` is the type of the set, `E` the driver's error.
///
/// # The driver's contract
/// 1. After any call that takes `&mut self`, call [`poll_fetch`](Self::poll_fetch) until it returns `None`, and
///    start each attempt that it returns. A wanted fetch has no deadline. A driver may therefore call
///    `poll_fetch` in the task that carries the attempt out, so that no attempt begins on a runtime that is not
///    polled.
/// 2. Then sleep until [`poll_timeout`](Self::poll_timeout), and call
///    [`handle_timeout`](Self::handle_timeout). Read the wall clock every few minutes at least, because it
///    may be stepped.
/// 3. Answer every attempt exactly once, also on timeout, cancellation and panic: with
///    [`handle_fetched`](Self::handle_fetched), or with [`abandon`](Self::abandon) if it was not carried
///    out. The slot gives up an attempt without an answer after twice its timeout.
/// 4. Check the [`outcome`](Self::outcome) of each open [`Ticket`] after each `handle_*`.
///
/// # What is handed out
/// [`ask`](Self::ask) returns the held set if it is usable. A set is usable while it is valid for longer than
/// the policy's margin and has not been rejected. Without a usable set, `ask` begins or joins a fetch.
///
/// A set that is not usable is handed out only if the policy allows it and an attempt has failed that began
/// *after the set became unusable*. An earlier failure, and an attempt that was not carried out
/// ([`FailureClass::Interrupted`]), do not show that the service has no usable set.
///
/// # Progress
/// A fetched set with another access key id is progress, also if it expires earlier: the association may name
/// another role, with shorter sessions. A set with the access key id of the held one is no progress. It is not
/// a failure either, but the next refresh waits as long as after a failure.
///
/// # Clock steps
/// After the wall clock is stepped back, whatever began later than `now` counts as begun at `now`. An attempt or
/// a rest then lasts at most its own length from `now`, and a set that was fetched later than `now` is refreshed.
/// Whether a set has expired depends on `now` alone.
pub struct Slot<T, E> {
    policy: Arc<RefreshPolicy>,
    random: fastrand::Rng,
    /// When the request expires: see [`with_end`](Slot::with_end).
    end: Timestamp,
    held: Option<Held<T>>,
    phase: Phase,
    round: Round,
    attempts: u64,
    settled: Option<Settled>,
    /// Attempts in a row without progress. They determine the length of the rest.
    streak: Option<Streak>,
    /// Attempts in a row that failed, a part of `streak`. Callers can read them.
    failing: Option<Streak>,
    /// Fetches in a row that returned the held set although a refresh was due.
    unchanged: u32,
    /// When the latest attempt failed that had begun after the held set expired.
    failed_expired: Option<Timestamp>,
    /// The pause that the service asked for.
    hint: Option<Pause>,
    /// Boxed because the agent holds thousands of slots without a limit.
    limit: Option<Box<TokenBucket>>,
    error: Option<E>,
    last_ask: Timestamp,
}

/// A value that expires at a known time.
pub trait Expiring {
    /// When the value stops being valid.
    fn expiration(&self) -> Timestamp;
}

/// The set of credentials that a [`Slot`] holds.
pub trait CredentialSet: Expiring {
    /// Returns whether both are the same set, which is when their access key ids are equal. Two sets that
    /// expire in the same second are different sets.
    fn is_same_set(&self, other: &Self) -> bool;
}

impl Expiring for Credentials {
    fn expiration(&self) -> Timestamp {
        Credentials::expiration(self)
    }
}

impl CredentialSet for Credentials {
    fn is_same_set(&self, other: &Self) -> bool {
        self.access_key_id() == other.access_key_id()
    }
}

/// The answer of [`Slot::ask`].
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "an ask is answered now or later; drivers match on both"
)]
pub enum Ask<'a, T> {
    /// The set.
    Ready(&'a T),
    /// The set will be the outcome of a fetch, which the ticket stands for.
    Pending(Ticket),
}

/// A claim to the outcome of one round: a fetch, which may take several attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// One attempt to fetch, to be answered exactly once with [`Slot::handle_fetched`] or
/// [`Slot::abandon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    id: u64,
    timeout: Duration,
}

impl Attempt {
    /// How long the attempt may take.
    pub fn timeout(self) -> Duration {
        self.timeout
    }
}

/// Failures that the state machine itself detects. A driver's error type converts from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The fetched set has expired or is about to. The wording is the official agent's.
    #[error(
        "fetched credentials are expired or will expire within the next {:.2} seconds",
        left.as_secs_f64()
    )]
    Expiring {
        /// How long it is still valid.
        left: Duration,
    },
    /// The driver began no attempt while a caller waited for one.
    #[error("no attempt could begin in time")]
    NotBegun,
    /// The driver never answered an attempt.
    #[error("the attempt was given up without an answer")]
    Abandoned,
}

struct Held<T> {
    value: T,
    fetched: Timestamp,
    expires: Timestamp,
    due: Timestamp,
    /// A refresh is due before `due`: the set was rejected, or the clock was stepped back.
    is_overdue: bool,
    rejected: Rejected,
}

#[derive(Clone, Copy, PartialEq)]
enum Rejected {
    No,
    /// The set was rejected when this was the number of the latest attempt, and no later one has ended. The
    /// service may have a newer set.
    Untried(u64),
    /// An attempt after the rejection returned no newer set, so this one is handed out again: the rejection
    /// may have been a mistake, and there is no other set.
    Tried,
}

/// A fetch with its attempts. Tickets belong to a round.
struct Round {
    id: u64,
    /// When its first attempt began, or when it was asked for.
    began: Timestamp,
    attempts: u32,
    /// A caller holds a ticket.
    is_awaited: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    Idle,
    /// An attempt is to be started. There is no deadline, because a slow driver is not a failed attempt.
    Wanted,
    /// The attempt is given up when the pause is over.
    InFlight(u64, Pause),
    /// Waiting for the next attempt of a round: after a failed one, or for the request limit or the service's
    /// hint.
    Retrying(Pause),
    /// After a refresh without progress; the round is over.
    Resting(Pause),
}

#[derive(Clone, Copy)]
struct Pause {
    since: Timestamp,
    until: Timestamp,
}

impl Pause {
    fn new(now: Timestamp, length: Duration) -> Self {
        Self {
            since: now,
            until: now + length,
        }
    }

    fn is_over(self, now: Timestamp) -> bool {
        now >= self.until
    }

    fn notice_step(&mut self, now: Timestamp) {
        if now < self.since {
            *self = Self::new(now, self.until.saturating_since(self.since));
        }
    }
}

/// How the latest round ended.
struct Settled {
    round: u64,
    /// Whether the outcome is the held set. Otherwise it is the error.
    is_set: bool,
    /// Whether the service refused, under a policy that repeats refusals.
    is_refused: bool,
}

enum Verdict {
    Serve,
    Join,
    Begin,
    Repeat(u64),
}

impl<T: CredentialSet, E: From<SlotError>> Slot<T, E> {
    /// Creates an empty slot. Its jitter is computed from the seed: with equal seeds and equal calls, two slots
    /// behave alike.
    pub fn new(policy: Arc<RefreshPolicy>, seed: u64) -> Self {
        let limit = policy.request_limit;
        Self {
            policy,
            random: fastrand::Rng::with_seed(seed),
            end: Timestamp::MAX,
            held: None,
            phase: Phase::Idle,
            round: Round {
                id: 0,
                began: Timestamp::MIN,
                attempts: 0,
                is_awaited: false,
            },
            attempts: 0,
            settled: None,
            streak: None,
            failing: None,
            unchanged: 0,
            failed_expired: None,
            hint: None,
            limit: limit.map(|limit| Box::new(TokenBucket::new(limit.burst, limit.per_second))),
            error: None,
            last_ask: Timestamp::MIN,
        }
    }

    /// Sets when the request itself expires. From then on the slot drops the held set and begins a fetch only
    /// when a caller asks. Defaults to never.
    pub fn with_end(mut self, end: Timestamp) -> Self {
        self.end = end;
        self
    }

    /// Changes when the request itself expires, because a newer one has replaced it.
    #[cfg(feature = "cache")]
    pub(crate) fn set_end(&mut self, end: Timestamp) {
        self.end = end;
    }

    /// Makes the tickets of this slot later than those of any slot with a lower serial.
    #[cfg(feature = "cache")]
    pub(crate) fn with_serial(mut self, serial: u64) -> Self {
        self.round.id = serial << 32;
        self
    }

    /// Returns the held set if it is usable. Otherwise returns a ticket for the fetch in flight, which all callers
    /// share, and begins a fetch if there is none.
    pub fn ask(&mut self, now: Timestamp) -> Ask<'_, T> {
        self.handle_timeout(now);
        self.last_ask = now;
        match self.verdict(now) {
            Verdict::Begin => self.begin(now),
            Verdict::Repeat(round) => return Ask::Pending(Ticket(round)),
            Verdict::Serve | Verdict::Join => {}
        }
        match (&self.held, self.verdict(now)) {
            (Some(held), Verdict::Serve) => Ask::Ready(&held.value),
            _ => {
                self.round.is_awaited = true;
                Ask::Pending(Ticket(self.round.id))
            }
        }
    }

    /// As [`ask`](Self::ask), but returns `None` where that would begin a fetch.
    #[cfg(feature = "cache")]
    pub(crate) fn join(&mut self, now: Timestamp) -> Option<Ask<'_, T>> {
        self.handle_timeout(now);
        match self.verdict(now) {
            Verdict::Begin => None,
            Verdict::Serve | Verdict::Join | Verdict::Repeat(_) => Some(self.ask(now)),
        }
    }

    /// Returns the held set if [`ask`](Self::ask) would return it without another effect. The clock must not have
    /// been stepped back since the latest call.
    #[cfg(feature = "cache")]
    pub(crate) fn hit(&mut self, now: Timestamp) -> Option<&T> {
        let is_quiet = self.poll_timeout().is_none_or(|at| now < at);
        match self.verdict(now) {
            Verdict::Serve if is_quiet => {
                self.last_ask = now;
                self.held()
            }
            _ => None,
        }
    }

    /// Returns the result of a round to a caller with its ticket, or `None` until the round ends. After a failure
    /// it is the held set if the policy hands that out.
    pub fn outcome(&self, ticket: Ticket) -> Option<Result<&T, &E>> {
        let settled = self.settled(ticket)?;
        match (&self.held, &self.error) {
            (Some(held), _) if settled.is_set => Some(Ok(&held.value)),
            (_, Some(error)) => Some(Err(error)),
            _ => None,
        }
    }

    /// As [`outcome`](Self::outcome), but after a failure it is always the error.
    pub fn fetch_outcome(&self, ticket: Ticket) -> Option<Result<&T, &E>> {
        self.settled(ticket)?;
        match (&self.held, &self.error) {
            (_, Some(error)) => Some(Err(error)),
            (Some(held), None) => Some(Ok(&held.value)),
            (None, None) => None,
        }
    }

    /// Returns an attempt that the driver is to start now. Each attempt is returned once, and there is at most one
    /// in flight.
    pub fn poll_fetch(&mut self, now: Timestamp) -> Option<Attempt> {
        let Phase::Wanted = self.phase else {
            return None;
        };
        if self.round.attempts == 0 {
            // The time that the driver took to start the first attempt does not count.
            self.round.began = now;
        }
        self.attempts += 1;
        self.round.attempts += 1;
        if let Some(limit) = &mut self.limit {
            // The pauses before an attempt wait for a token. An attempt without such a pause owes it.
            limit.reserve(now, Duration::MAX);
        }
        let mut timeout = self.policy.attempt_timeout;
        if self.round.is_awaited {
            let left = (self.round.began + self.policy.retry.within).saturating_since(now);
            timeout = timeout.min(left.max(LEAST_TIMEOUT));
        }
        self.phase = Phase::InFlight(self.attempts, Pause::new(now, timeout.saturating_mul(2)));
        Some(Attempt {
            id: self.attempts,
            timeout,
        })
    }

    /// Takes the result of an attempt. Returns `false`, and changes nothing, if the attempt is late or
    /// unknown.
    pub fn handle_fetched(
        &mut self,
        attempt: Attempt,
        now: Timestamp,
        result: Result<T, Failure<E>>,
    ) -> bool {
        if !self.is_attempt_in_flight(attempt) {
            return false;
        }
        self.notice_step(now);
        match result {
            Ok(value) => self.accept(value, now),
            Err(failure) => self.fail(failure, now),
        }
        true
    }

    /// Takes back an attempt that was not carried out, for example because its runtime is not polled. The slot
    /// then wants another one. Returns `false`, and changes nothing, if the attempt is late or unknown.
    pub fn abandon(&mut self, attempt: Attempt) -> bool {
        let is_in_flight = self.is_attempt_in_flight(attempt);
        if is_in_flight {
            self.round.attempts = self.round.attempts.saturating_sub(1);
            self.phase = Phase::Wanted;
        }
        is_in_flight
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) next, or `None` if the passing of time changes
    /// nothing.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let kept = self.held.as_ref().map(|_held| self.end);
        let next = match self.phase {
            Phase::Idle => self.due_at(),
            Phase::Wanted if self.round.is_awaited => Some(self.end_of_interest()),
            Phase::Wanted => None,
            Phase::InFlight(_, pause) | Phase::Retrying(pause) | Phase::Resting(pause) => {
                Some(pause.until)
            }
        };
        [kept, next]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at < Timestamp::MAX)
    }

    /// Takes note of the time. Calling it early, late or often does no harm.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.notice_step(now);
        if now >= self.end {
            self.drop_held();
        }
        match self.phase {
            Phase::InFlight(_, pause) if pause.is_over(now) => {
                let error = E::from(SlotError::Abandoned);
                self.fail(Failure::new(FailureClass::Interrupted, error), now);
            }
            // The driver may hold a wanted fetch back, for example for a budget. The callers have gone by now.
            Phase::Wanted if self.round.is_awaited && now >= self.end_of_interest() => {
                self.settle_failed(now);
                self.rest(now, Duration::ZERO);
            }
            Phase::Retrying(pause) if pause.is_over(now) => {
                if now <= self.retry_deadline() {
                    self.phase = Phase::Wanted;
                } else {
                    self.settle_failed(now);
                    self.rest(now, Duration::ZERO);
                }
            }
            Phase::Resting(pause) if pause.is_over(now) && self.held.is_some() => self.begin(now),
            Phase::Resting(pause) if pause.is_over(now) => self.phase = Phase::Idle,
            Phase::Idle if self.is_due(now) => self.begin(now),
            _ => {}
        }
    }

    /// Returns the held set, usable or not.
    pub fn held(&self) -> Option<&T> {
        self.held.as_ref().map(|held| &held.value)
    }

    /// Returns the set that [`ask`](Self::ask) would return, and changes nothing.
    pub fn peek(&self, now: Timestamp) -> Option<&T> {
        match self.verdict(now) {
            Verdict::Serve => self.held(),
            _ => None,
        }
    }

    /// Returns the time until which [`ask`](Self::ask) would return the held set and change nothing. `None` if it
    /// would not do so at `now`.
    ///
    /// Until then a driver may hand out a copy of the held set without asking. While a fetch is wanted there is no
    /// such time, because each call of `ask` is an occasion for the driver to start it.
    pub fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        let held = self.held.as_ref()?;
        if matches!(self.phase, Phase::Wanted) || !matches!(self.verdict(now), Verdict::Serve) {
            return None;
        }
        let end = if self.is_usable_set(held, now) {
            held.expires - self.policy.margin
        } else {
            self.fallback_end(now)?
        };
        let until = self.poll_timeout().map_or(end, |next| next.min(end));
        (now < until).then_some(until)
    }

    /// Returns when the held set was fetched.
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.fetched)
    }

    /// Returns when the held set is to be refreshed.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| match held.is_overdue {
            true => Timestamp::MIN,
            false => held.due,
        })
    }

    /// Returns whether the held set is usable: it is valid for longer than the policy's margin, it was not rejected
    /// since the latest attempt, and the request that fetched it has not expired.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let held = self.held.as_ref();
        now < self.end && held.is_some_and(|held| self.is_usable_set(held, now))
    }

    /// Returns whether the held set was rejected and is handed out because there is no newer one.
    pub fn is_rejected(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.rejected == Rejected::Tried)
    }

    /// Returns how many fetches in a row have returned the held set although a refresh was due.
    pub fn unchanged(&self) -> u32 {
        self.unchanged
    }

    /// Returns the error of the latest failed attempt, unless one has succeeded since.
    pub fn last_error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// Returns the number of failed attempts in a row.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |failing| failing.count)
    }

    /// Returns when the first of the failures in a row happened.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing.map(|failing| failing.since)
    }

    /// Returns whether [`poll_fetch`](Self::poll_fetch) would return an attempt.
    pub fn wants_fetch(&self) -> bool {
        matches!(self.phase, Phase::Wanted)
    }

    /// Returns whether a fetch is wanted or in flight.
    pub fn is_fetching(&self) -> bool {
        matches!(self.phase, Phase::Wanted | Phase::InFlight(..))
    }

    /// Returns whether [`ask`](Self::ask) without a usable set would join a round rather than begin one.
    pub fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Wanted | Phase::InFlight(..) | Phase::Retrying(_)
        )
    }

    /// Returns whether the slot pauses before its next attempt.
    pub fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting(_) | Phase::Retrying(_))
    }

    /// Returns whether the slot holds nothing and does nothing, so that it may be dropped.
    pub fn is_vacant(&self) -> bool {
        self.held.is_none() && matches!(self.phase, Phase::Idle)
    }

    /// Returns whether an attempt has been started and not answered.
    #[cfg(feature = "cache")]
    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.phase, Phase::InFlight(..))
    }

    /// Returns whether a fetch is wanted that no caller waits for.
    #[cfg(feature = "cache")]
    pub(crate) fn wants_refresh(&self) -> bool {
        self.wants_fetch() && !self.round.is_awaited
    }

    /// Returns whether a fetch is wanted that a caller waits for.
    #[cfg(feature = "cache")]
    pub(crate) fn wants_first(&self) -> bool {
        self.wants_fetch() && self.round.is_awaited
    }

    /// Returns whether the current round has already had an attempt.
    #[cfg(feature = "cache")]
    pub(crate) fn is_retry(&self) -> bool {
        self.round.attempts > 0
    }

    /// Begins a fetch now, also if a usable set is held, or joins the one that is under way. Ends a rest.
    ///
    /// Read the result with [`fetch_outcome`](Self::fetch_outcome).
    pub fn refresh(&mut self, now: Timestamp) -> Ticket {
        self.handle_timeout(now);
        self.last_ask = now;
        if let Some(round) = self.failed_round_to_repeat(now) {
            return Ticket(round);
        }
        match self.phase {
            Phase::Wanted | Phase::InFlight(..) => {}
            Phase::Retrying(_) if self.earliest_attempt(now) <= now => self.phase = Phase::Wanted,
            Phase::Retrying(_) => {}
            Phase::Idle | Phase::Resting(_) => self.begin(now),
        }
        self.round.is_awaited = true;
        Ticket(self.round.id)
    }

    fn verdict(&self, now: Timestamp) -> Verdict {
        let under_way = self.is_under_way();
        match &self.settled {
            Some(settled) if settled.is_refused && self.is_resting() => {
                return Verdict::Repeat(settled.round);
            }
            _ if under_way && self.policy.wait_for_due_refresh => return Verdict::Join,
            _ => {}
        }
        match &self.held {
            Some(held) if self.is_usable_set(held, now) || self.falls_back(now) => Verdict::Serve,
            _ if under_way => Verdict::Join,
            _ => match self.failed_round_to_repeat(now) {
                Some(round) => Verdict::Repeat(round),
                None => Verdict::Begin,
            },
        }
    }

    /// Returns the latest round if it failed and the service asked not to be called for longer than a caller
    /// waits. Another attempt could not succeed in time, so callers get the known error at once.
    fn failed_round_to_repeat(&self, now: Timestamp) -> Option<u64> {
        self.limit.as_ref()?;
        self.error.as_ref()?;
        let settled = self.settled.as_ref()?;
        (self.hint_end() > now + self.policy.retry.within).then_some(settled.round)
    }

    fn begin(&mut self, now: Timestamp) {
        self.round = Round {
            id: self.round.id + 1,
            began: now,
            attempts: 0,
            is_awaited: false,
        };
        let earliest = self.earliest_attempt(now);
        self.phase = if earliest > now {
            Phase::Retrying(Pause {
                since: now,
                until: earliest,
            })
        } else {
            Phase::Wanted
        };
    }

    /// Returns when the request limit and the service's hint allow an attempt.
    fn earliest_attempt(&self, now: Timestamp) -> Timestamp {
        match &self.limit {
            Some(limit) => limit.ready_at(now).max(self.hint_end()),
            None => now,
        }
    }

    fn accept(&mut self, value: T, now: Timestamp) {
        let expires = value.expiration();
        let left = expires.saturating_since(now);
        if left <= self.policy.margin {
            let error = E::from(SlotError::Expiring { left });
            return self.fail(Failure::new(FailureClass::Malformed, error), now);
        }
        match &mut self.held {
            Some(held) if self.policy.require_progress && held.value.is_same_set(&value) => {
                if expires > held.expires {
                    held.due = self.policy.due(now, expires, self.random.f64());
                    (held.value, held.expires) = (value, expires);
                }
                self.keep(now);
            }
            _ => self.hold(value, now),
        }
    }

    fn hold(&mut self, value: T, now: Timestamp) {
        let expires = value.expiration();
        let due = self.policy.due(now, expires, self.random.f64());
        self.held = Some(Held {
            value,
            fetched: now,
            expires,
            due,
            is_overdue: false,
            rejected: Rejected::No,
        });
        self.streak = None;
        self.unchanged = 0;
        self.forget_failures();
        self.settle(true, false);
        self.phase = Phase::Idle;
    }

    /// Keeps the held set, because the service has returned it again.
    fn keep(&mut self, now: Timestamp) {
        self.forget_failures();
        if self.must_try_since_rejection() {
            return;
        }
        if let Some(held) = &mut self.held
            && held.rejected == Rejected::No
        {
            held.is_overdue = false;
        }
        self.settle(true, false);
        if self.is_due(now) {
            self.unchanged = self.unchanged.saturating_add(1);
            Streak::lengthen(&mut self.streak, now);
            self.rest(now, Duration::ZERO);
        } else {
            // A caller asked for a refresh before it was due.
            self.phase = Phase::Idle;
        }
    }

    fn fail(&mut self, failure: Failure<E>, now: Timestamp) {
        let began_expired = self.has_attempt_begun_expired();
        let hint = self.honoured_hint(failure.retry_after, now);
        self.error = Some(failure.error);
        self.unchanged = 0;
        if !hint.is_zero() {
            self.hint = Some(Pause::new(now, hint));
        }
        Streak::lengthen(&mut self.streak, now);
        if failure.class != FailureClass::Interrupted {
            Streak::lengthen(&mut self.failing, now);
            if began_expired {
                self.failed_expired = Some(now);
            }
        }
        let is_refusal = matches!(failure.class, FailureClass::Gone | FailureClass::Denied);
        if let (true, Some(repeat)) = (is_refusal, self.policy.repeat_refusals) {
            self.settle(false, true);
            self.phase = Phase::Resting(Pause::new(now, repeat));
            return;
        }
        if failure.class == FailureClass::Gone
            && (self.policy.drop_when_gone || self.has_expired(now))
        {
            self.held = None;
        }
        if failure.class != FailureClass::Interrupted && self.must_try_since_rejection() {
            return;
        }
        match self.retry_pause(failure.class, hint, now) {
            Some(pause) => self.phase = Phase::Retrying(pause),
            None => {
                self.settle_failed(now);
                self.rest(now, hint);
            }
        }
    }

    /// Returns how much of the service's `Retry-After` is respected.
    fn honoured_hint(&self, hint: Option<Duration>, now: Timestamp) -> Duration {
        let expires = self.held.as_ref().map(|held| held.expires);
        self.policy
            .honoured_hint(hint.unwrap_or_default(), now, expires)
    }

    /// Returns whether the attempt that just ended began before the held set was rejected. Its result says nothing
    /// about the set that the service would return now, so the slot wants another attempt. Otherwise marks the
    /// rejection as tried.
    fn must_try_since_rejection(&mut self) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        if !self.policy.withhold_rejected {
            return false;
        }
        match held.rejected {
            Rejected::Untried(before) if self.attempts <= before => {
                self.phase = Phase::Wanted;
                true
            }
            Rejected::Untried(_) => {
                held.rejected = Rejected::Tried;
                false
            }
            Rejected::No | Rejected::Tried => false,
        }
    }

    /// Returns the pause before the next attempt of the round, or `None` if the round has no other attempt: only
    /// callers that wait and cannot be answered get one.
    fn retry_pause(
        &mut self,
        class: FailureClass,
        hint: Duration,
        now: Timestamp,
    ) -> Option<Pause> {
        let retry = self.policy.retry;
        let is_awaited = self.round.is_awaited && !self.is_usable(now) && !self.falls_back(now);
        let is_retried = class.is_retryable()
            && (retry.malformed || class != FailureClass::Malformed)
            && self.round.attempts < retry.attempts;
        if !is_awaited || !is_retried {
            return None;
        }
        let backoff = retry.backoff.delay(self.round.attempts, self.random.f64());
        let limited = self
            .limit
            .as_ref()
            .map_or(now, |limit| limit.ready_at(now))
            .saturating_since(now);
        let pause = Pause::new(now, backoff.max(limited).max(hint));
        (pause.until <= self.retry_deadline()).then_some(pause)
    }

    /// Ends a round without progress. With a set held, also a rejected or expired one, the next round begins after
    /// the rest. Without one, it begins when a caller asks.
    fn rest(&mut self, now: Timestamp, hint: Duration) {
        self.phase = match (&self.held, self.streak) {
            (Some(held), Some(streak)) => {
                let fraction = self.random.f64();
                let rest = self.policy.rest(now, streak, held.expires, hint, fraction);
                Phase::Resting(Pause::new(now, rest))
            }
            _ => Phase::Idle,
        };
    }

    fn settle(&mut self, is_set: bool, is_refused: bool) {
        self.settled = Some(Settled {
            round: self.round.id,
            is_set,
            is_refused,
        });
    }

    /// Settles a failed round. Its outcome is the held set if [`ask`](Self::ask) would return that now, else the
    /// error of its last attempt. Every round needs an outcome, because callers wait for one.
    fn settle_failed(&mut self, now: Timestamp) {
        let not_begun = || E::from(SlotError::NotBegun);
        self.error.get_or_insert_with(not_begun);
        let is_set = self.is_usable(now) || self.falls_back(now);
        self.settle(is_set, false);
    }

    fn settled(&self, ticket: Ticket) -> Option<&Settled> {
        self.settled
            .as_ref()
            .filter(|settled| settled.round >= ticket.0)
    }

    fn forget_failures(&mut self) {
        self.failing = None;
        self.failed_expired = None;
        self.hint = None;
        self.error = None;
    }

    /// Returns when the callers of a fetch are assumed to have gone.
    fn end_of_interest(&self) -> Timestamp {
        self.last_ask + self.policy.retry.linger
    }

    /// Returns until when an attempt may begin for callers that wait.
    fn retry_deadline(&self) -> Timestamp {
        let retry = &self.policy.retry;
        (self.round.began + retry.within)
            .min(self.end_of_interest())
            .min(self.end)
    }

    fn is_attempt_in_flight(&self, attempt: Attempt) -> bool {
        matches!(self.phase, Phase::InFlight(current, _) if current == attempt.id)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due_at().is_some_and(|due| now >= due)
    }

    /// Drops the held set and its refresh, because the request has expired.
    fn drop_held(&mut self) {
        self.held = None;
        let is_refresh = matches!(self.phase, Phase::Wanted) && !self.round.is_awaited;
        if is_refresh || matches!(self.phase, Phase::Resting(_)) {
            self.phase = Phase::Idle;
        }
    }

    /// Moves what began later than `now` to `now`, because the wall clock was stepped back.
    fn notice_step(&mut self, now: Timestamp) {
        self.last_ask = self.last_ask.min(now);
        self.round.began = self.round.began.min(now);
        self.failed_expired = self.failed_expired.filter(|failed| *failed <= now);
        for streak in [&mut self.streak, &mut self.failing].into_iter().flatten() {
            streak.since = streak.since.min(now);
        }
        if let Some(hint) = &mut self.hint {
            hint.notice_step(now);
        }
        if let Phase::InFlight(_, pause) | Phase::Retrying(pause) | Phase::Resting(pause) =
            &mut self.phase
        {
            pause.notice_step(now);
        }
        if let Some(held) = &mut self.held
            && now + STEP_TOLERANCE < held.fetched
        {
            held.fetched = now;
            held.due = self.policy.due(now, held.expires, self.random.f64());
            held.is_overdue = true;
        }
    }

    fn is_usable_set(&self, held: &Held<T>, now: Timestamp) -> bool {
        !self.is_withheld(held, now) && held.expires.saturating_since(now) > self.policy.margin
    }

    /// Returns whether a rejected set is withheld until an attempt has been made. It is not while the service asks
    /// not to be called for longer than a caller waits.
    fn is_withheld(&self, held: &Held<T>, now: Timestamp) -> bool {
        self.policy.withhold_rejected
            && matches!(held.rejected, Rejected::Untried(_))
            && self.failed_round_to_repeat(now).is_none()
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        let is_over = |held: &Held<T>| held.expires.saturating_since(now) <= self.policy.margin;
        self.held.as_ref().is_some_and(is_over)
    }

    fn has_attempt_begun_expired(&self) -> bool {
        match self.phase {
            Phase::InFlight(_, pause) => self.has_expired(pause.since),
            _ => false,
        }
    }

    /// Returns whether an expired set is handed out.
    fn falls_back(&self, now: Timestamp) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| !self.is_withheld(held, now))
            && self.fallback_end(now).is_some_and(|end| now < end)
    }

    fn hint_end(&self) -> Timestamp {
        self.hint.map_or(Timestamp::MIN, |hint| hint.until)
    }

    fn fallback_end(&self, now: Timestamp) -> Option<Timestamp> {
        match self.policy.serve_expired {
            ServeExpired::Never => None,
            ServeExpired::WhileFailing => self.failing.map(|_failing| Timestamp::MAX),
            ServeExpired::AfterFailedAttempt(length) => {
                // A failure later than now is not a recent one: the clock was stepped back.
                let failed = self.failed_expired.filter(|failed| *failed <= now)?;
                // No attempt begins while the service asks not to be called.
                Some((failed + length).max(self.hint_end()))
            }
        }
    }
}

impl<T: CredentialSet + Borrow<Credentials>, E: From<SlotError>> Slot<T, E> {
    /// Marks the set with this access key id as rejected by a service. A refresh is then due at once, and the set
    /// is withheld until an attempt has been made (except under [`RefreshPolicy::cross_sdk`]).
    ///
    /// If that attempt fails or returns the same set, the set is handed out again and the refresh is repeated as
    /// after a failure, because the rejection may have been a mistake. Another rejection of the same set has no
    /// effect, or each would cause a request. Nor has the rejection of a set that is not the held one. Returns
    /// whether the slot has changed.
    pub fn invalidate(&mut self, access_key_id: &str) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        if held.value.borrow().access_key_id() != access_key_id || held.rejected != Rejected::No {
            return false;
        }
        held.rejected = Rejected::Untried(self.attempts);
        self.unchanged = 0;
        held.is_overdue = true;
        if self.policy.withhold_rejected && matches!(self.phase, Phase::Resting(_)) {
            // The rest was meant for a refresh without urgency.
            self.phase = Phase::Idle;
        }
        true
    }
}

impl<T, E> fmt::Debug for Slot<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Idle => "idle",
            Phase::Wanted => "wanted",
            Phase::InFlight(..) => "in flight",
            Phase::Retrying(_) => "retrying",
            Phase::Resting(_) => "resting",
        };
        f.debug_struct("Slot")
            .field("phase", &phase)
            .field("expires", &self.held.as_ref().map(|held| held.expires))
            .field("due", &self.held.as_ref().map(|held| held.due))
            .field("failing", &self.failing)
            .finish_non_exhaustive()
    }
}

/// The shortest timeout of an attempt. With less time it could only fail.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// A correction of the clock by less than this is not a step.
const STEP_TOLERANCE: Duration = Duration::from_secs(10);
