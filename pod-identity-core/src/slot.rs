use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::Failing;
use crate::{Credentials, Failure, FailureClass, RefreshPolicy, Timestamp};

/// One credential's life: empty, wanted, in flight, held, resting after a failure.
///
/// A deterministic state machine. It is told what happened (`handle_*`), asked what to do next
/// (`poll_*`), and given the time; it does nothing by itself. `T` is what is held, `E` the driver's
/// error.
///
/// # The driver's contract
/// 1. After any call that takes `&mut self`, drain [`poll_fetch`](Self::poll_fetch) and start what it
///    hands out.
/// 2. Then sleep until [`poll_timeout`](Self::poll_timeout), and call
///    [`handle_timeout`](Self::handle_timeout). Look at the wall clock at least every minute, because
///    it may be stepped.
/// 3. Answer every attempt exactly once, also on timeout, cancellation and panic. An attempt that is
///    never answered is given up after twice its timeout.
/// 4. Those who hold a [`Ticket`] look at [`outcome`](Self::outcome) after each `handle_*`.
///
/// # Clock steps
/// What began in what is now the future is taken to have begun now: a wall clock that was stepped back
/// neither delays an attempt or a rest by more than its own length nor cuts it short, and what was
/// fetched "later" than now is refreshed. Whether a set has expired is always asked of `now`.
pub struct Slot<T, E> {
    policy: Arc<RefreshPolicy>,
    random: fastrand::Rng,
    /// From here on nothing is kept and nothing fetched by itself.
    end: Timestamp,
    held: Option<Held<T>>,
    phase: Phase,
    round: Round,
    attempts: u64,
    settled: Option<Settled>,
    failing: Option<Failing>,
    error: Option<E>,
    last_ask: Timestamp,
}

/// What a [`Slot`] needs to know of what it holds.
pub trait Expiring {
    /// When it stops being valid.
    fn expiration(&self) -> Timestamp;
}

impl Expiring for Credentials {
    fn expiration(&self) -> Timestamp {
        Credentials::expiration(self)
    }
}

/// The answer to an ask.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "an ask is answered now or later; drivers match on both"
)]
pub enum Ask<'a, T> {
    /// Here it is.
    Ready(&'a T),
    /// Wait for this fetch.
    Pending(Ticket),
}

/// The claim to the result of a fetch, which may take several attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// One attempt to fetch, to be answered exactly once with [`Slot::handle_fetched`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    id: u64,
    timeout: Duration,
}

impl Attempt {
    /// How long it may take.
    pub fn timeout(self) -> Duration {
        self.timeout
    }
}

/// Failures that the state machine itself finds. A driver's error type is made from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The fetched set has expired or is about to. The wording is the official agent's.
    #[error(
        "fetched credentials are expired or will expire within the next {:.2} seconds",
        left.as_secs_f64()
    )]
    Expiring {
        /// The life that it has left.
        left: Duration,
    },
    /// The set that the service has just rejected, recognised by its expiry, was fetched again.
    #[error("the rejected credentials were handed out again")]
    Repeated,
    /// The driver never answered an attempt.
    #[error("the attempt was given up without an answer")]
    Abandoned,
}

struct Held<T> {
    value: T,
    fetched: Timestamp,
    expires: Timestamp,
    due: Timestamp,
    rejected: bool,
}

/// A fetch with its attempts. Tickets belong to a round.
struct Round {
    id: u64,
    began: Timestamp,
    attempts: u32,
    /// Somebody holds a ticket.
    waited: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    Idle,
    Wanted,
    /// The attempt is given up when the pause is over.
    InFlight(u64, Pause),
    /// Between two attempts of a round that somebody waits for.
    Retrying(Pause),
    /// After a failed refresh; the round is over.
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
    ok: bool,
    /// Refused for good: under `sep()` it is raised whatever is held.
    refused: bool,
}

enum Verdict {
    Serve,
    Join,
    Begin,
    Repeat(u64),
}

impl<T: Expiring, E: From<SlotError>> Slot<T, E> {
    /// An empty slot. The seed drives its jitter; equal seeds give equal lives.
    pub fn new(policy: Arc<RefreshPolicy>, seed: u64) -> Self {
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
                waited: false,
            },
            attempts: 0,
            settled: None,
            failing: None,
            error: None,
            last_ask: Timestamp::MIN,
        }
    }

    /// From `end` on what is held is dropped and nothing is fetched unless somebody asks, because the
    /// request itself has expired by then.
    pub fn with_end(mut self, end: Timestamp) -> Self {
        self.end = end;
        self
    }

    /// Its tickets are later than those of a slot with a lower serial.
    #[cfg(feature = "cache")]
    pub(crate) fn with_serial(mut self, serial: u64) -> Self {
        self.round.id = serial << 32;
        self
    }

    /// Somebody wants it.
    ///
    /// With a usable set held the answer is that set, whatever else is going on. With none, everybody
    /// shares the fetch in flight, or starts one.
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
                self.round.waited = true;
                Ask::Pending(Ticket(self.round.id))
            }
        }
    }

    /// As [`ask`](Self::ask), but begins no fetch: `None` where an ask would begin one.
    #[cfg(feature = "cache")]
    pub(crate) fn join(&mut self, now: Timestamp) -> Option<Ask<'_, T>> {
        self.handle_timeout(now);
        match self.verdict(now) {
            Verdict::Begin => None,
            Verdict::Serve | Verdict::Join | Verdict::Repeat(_) => Some(self.ask(now)),
        }
    }

    /// What is held, if an ask would be answered with it and change nothing else. The time must not have
    /// been stepped back.
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

    /// The result of a fetch, for those who waited: `None` while it goes on. After a failure it may
    /// still be a set, where the policy hands out an expired one.
    pub fn outcome(&self, ticket: Ticket) -> Option<Result<&T, &E>> {
        let settled = self
            .settled
            .as_ref()
            .filter(|settled| settled.round >= ticket.0)?;
        let held = self.held.as_ref().filter(|held| self.may_serve(held));
        let fallback = self.policy.serve_expired && !(self.policy.sep.is_some() && settled.refused);
        match (held, &self.error) {
            (Some(held), _) if settled.ok || fallback => Some(Ok(&held.value)),
            (_, Some(error)) => Some(Err(error)),
            _ => None,
        }
    }

    /// An attempt to start now. It is handed out once: single flight is a state, not a lock.
    pub fn poll_fetch(&mut self, now: Timestamp) -> Option<Attempt> {
        let Phase::Wanted = self.phase else {
            return None;
        };
        self.attempts += 1;
        self.round.attempts += 1;
        let mut timeout = self.policy.attempt_timeout;
        if self.round.waited {
            let left = (self.round.began + self.policy.retry.within).saturating_since(now);
            timeout = timeout.min(left.max(LEAST_TIMEOUT));
        }
        self.phase = Phase::InFlight(self.attempts, Pause::new(now, timeout * 2));
        Some(Attempt {
            id: self.attempts,
            timeout,
        })
    }

    /// What an attempt brought. `false`: it is late or unknown, and nothing has changed.
    pub fn handle_fetched(
        &mut self,
        attempt: Attempt,
        now: Timestamp,
        result: Result<T, Failure<E>>,
    ) -> bool {
        match self.phase {
            Phase::InFlight(current, _) if current == attempt.id => {}
            _ => return false,
        }
        self.notice_step(now);
        match result {
            Ok(value) => self.accept(value, now),
            Err(failure) => self.fail(failure, now),
        }
        true
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` for "not before something
    /// else happens".
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let kept = self.held.as_ref().map(|_held| self.end);
        let next = match self.phase {
            Phase::Idle => self.held.as_ref().map(|held| held.due),
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

    /// Time has passed. Harmless to call early, late or often.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.notice_step(now);
        if now >= self.end {
            self.drop_held();
        }
        match self.phase {
            Phase::InFlight(_, pause) if pause.is_over(now) => {
                let error = E::from(SlotError::Abandoned);
                self.fail(Failure::new(FailureClass::Transient, error), now);
            }
            Phase::Retrying(pause) if pause.is_over(now) => {
                if now <= self.retry_deadline() {
                    self.phase = Phase::Wanted;
                } else {
                    self.settle(false, false);
                    self.rest(now, None);
                }
            }
            Phase::Resting(pause) if pause.is_over(now) && self.held.is_some() => self.begin(now),
            Phase::Resting(pause) if pause.is_over(now) => self.phase = Phase::Idle,
            Phase::Idle if self.is_due(now) => self.begin(now),
            _ => {}
        }
    }

    /// What is held, usable or not.
    pub fn held(&self) -> Option<&T> {
        self.held.as_ref().map(|held| &held.value)
    }

    /// What an ask would be answered with at once. Unlike an ask it wants nothing.
    pub fn peek(&self, now: Timestamp) -> Option<&T> {
        match self.verdict(now) {
            Verdict::Serve => self.held(),
            _ => None,
        }
    }

    /// When what is held was fetched.
    pub fn fetched_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.fetched)
    }

    /// When what is held is to be refreshed.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.due)
    }

    /// Whether what is held may be handed out as valid: more life left than the policy's margin, and
    /// not rejected.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| self.is_usable_set(held, now))
    }

    /// Failed attempts in a row.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |failing| failing.count)
    }

    /// When the current run of failures began.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing.map(|failing| failing.since)
    }

    /// The latest failure since the latest success.
    pub fn last_error(&self) -> Option<&E> {
        self.error.as_ref()
    }

    /// Whether a fetch is under way, or about to be.
    pub fn is_fetching(&self) -> bool {
        matches!(self.phase, Phase::Wanted | Phase::InFlight(..))
    }

    /// Whether an ask with nothing usable held would join a fetch, or its next attempt, rather than begin
    /// one.
    pub fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Wanted | Phase::InFlight(..) | Phase::Retrying(_)
        )
    }

    /// Whether nothing is attempted for a while because an attempt has failed.
    pub fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting(_) | Phase::Retrying(_))
    }

    /// Nothing is held and nothing is going on: the slot may be forgotten.
    pub fn is_vacant(&self) -> bool {
        self.held.is_none() && matches!(self.phase, Phase::Idle)
    }

    /// A refresh is wanted that nobody waits for.
    #[cfg(feature = "cache")]
    pub(crate) fn wants_refresh(&self) -> bool {
        matches!(self.phase, Phase::Wanted) && !self.round.waited
    }

    /// A fetch is wanted that somebody waits for.
    #[cfg(feature = "cache")]
    pub(crate) fn wants_first(&self) -> bool {
        matches!(self.phase, Phase::Wanted) && self.round.waited
    }

    /// Whether the fetch in question has had an attempt that failed.
    #[cfg(feature = "cache")]
    pub(crate) fn is_retry(&self) -> bool {
        self.round.attempts > 0
    }

    /// Asks for a refresh now, whatever is held. A rest is cut short; a fetch under way is joined.
    ///
    /// The ticket's outcome is that fetch's.
    pub fn refresh(&mut self, now: Timestamp) -> Ticket {
        self.handle_timeout(now);
        self.last_ask = now;
        match self.phase {
            Phase::Wanted | Phase::InFlight(..) => {}
            Phase::Retrying(_) => self.phase = Phase::Wanted,
            Phase::Idle | Phase::Resting(_) => self.begin(now),
        }
        self.round.waited = true;
        Ticket(self.round.id)
    }

    fn verdict(&self, now: Timestamp) -> Verdict {
        let under_way = self.is_under_way();
        if self.policy.sep.is_some() {
            match &self.settled {
                Some(settled) if settled.refused && self.is_resting() => {
                    return Verdict::Repeat(settled.round);
                }
                _ if under_way => return Verdict::Join,
                _ => {}
            }
        }
        match &self.held {
            Some(held) if self.is_usable_set(held, now) => Verdict::Serve,
            Some(held)
                if self.may_serve(held) && self.policy.serve_expired && self.failing.is_some() =>
            {
                Verdict::Serve
            }
            _ if under_way => Verdict::Join,
            _ => Verdict::Begin,
        }
    }

    fn begin(&mut self, now: Timestamp) {
        self.round = Round {
            id: self.round.id + 1,
            began: now,
            attempts: 0,
            waited: false,
        };
        self.phase = Phase::Wanted;
    }

    fn accept(&mut self, value: T, now: Timestamp) {
        let expires = value.expiration();
        let left = expires.saturating_since(now);
        if left <= self.policy.margin {
            let error = E::from(SlotError::Expiring { left });
            return self.fail(Failure::new(FailureClass::Malformed, error), now);
        }
        let before = self
            .held
            .as_ref()
            .filter(|_held| self.policy.require_progress);
        match before {
            Some(held) if held.rejected && expires == held.expires => {
                let error = E::from(SlotError::Repeated);
                self.fail(Failure::new(FailureClass::Transient, error), now);
            }
            // The same or an older expiry is no progress: keep the set that lives longest, rest.
            Some(held) if !held.rejected && expires <= held.expires => {
                self.count_failure(now);
                self.error = None;
                self.settle(true, false);
                self.rest(now, None);
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
            rejected: false,
        });
        self.failing = None;
        self.error = None;
        self.settle(true, false);
        self.phase = Phase::Idle;
    }

    fn fail(&mut self, failure: Failure<E>, now: Timestamp) {
        self.error = Some(failure.error);
        self.count_failure(now);
        let refusal = matches!(failure.class, FailureClass::Gone | FailureClass::Denied);
        if let (true, Some(repeat)) = (refusal, self.policy.sep) {
            self.settle(false, true);
            self.phase = Phase::Resting(Pause::new(now, repeat));
            return;
        }
        if failure.class == FailureClass::Gone {
            self.held = None;
        }
        match self.retry_pause(failure.class, failure.retry_after, now) {
            Some(pause) => self.phase = Phase::Retrying(pause),
            None => {
                self.settle(false, false);
                self.rest(now, failure.retry_after);
            }
        }
    }

    /// Until the next attempt for those who wait with nothing usable held, if they are to get one.
    fn retry_pause(
        &mut self,
        class: FailureClass,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Option<Pause> {
        let retry = self.policy.retry;
        let waiting = self.round.waited && !self.is_usable(now);
        let retried = class.is_retryable()
            && (retry.malformed || class != FailureClass::Malformed)
            && self.round.attempts < retry.attempts;
        if !waiting || !retried {
            return None;
        }
        let backoff = retry.backoff.delay(self.round.attempts, self.random.f64());
        let pause = Pause::new(now, backoff.max(hint(retry_after)));
        (pause.until <= self.retry_deadline()).then_some(pause)
    }

    /// Ends an attempt that failed and is not repeated at once: with something held (rejected or expired
    /// too) the next one comes by itself, with nothing held when somebody asks.
    fn rest(&mut self, now: Timestamp, retry_after: Option<Duration>) {
        self.phase = match (&self.held, self.failing) {
            (Some(held), Some(failing)) => {
                let rest = self
                    .policy
                    .rest(now, failing, held.expires, self.random.f64());
                Phase::Resting(Pause::new(now, rest.max(hint(retry_after))))
            }
            _ => Phase::Idle,
        };
    }

    fn settle(&mut self, ok: bool, refused: bool) {
        self.settled = Some(Settled {
            round: self.round.id,
            ok,
            refused,
        });
    }

    fn count_failure(&mut self, now: Timestamp) {
        let failing = self.failing.get_or_insert(Failing {
            since: now,
            count: 0,
        });
        failing.count = failing.count.saturating_add(1);
    }

    /// Until when an attempt may begin for those who wait with nothing held.
    fn retry_deadline(&self) -> Timestamp {
        let retry = &self.policy.retry;
        (self.round.began + retry.within)
            .min(self.last_ask + retry.linger)
            .min(self.end)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_some_and(|held| now >= held.due)
    }

    /// The request has expired: what was fetched with it is of no use to anybody, nor a refresh of it.
    fn drop_held(&mut self) {
        self.held = None;
        let refresh = matches!(self.phase, Phase::Wanted) && !self.round.waited;
        if refresh || matches!(self.phase, Phase::Resting(_)) {
            self.phase = Phase::Idle;
        }
    }

    /// What began in the future began now: the wall clock was stepped back.
    fn notice_step(&mut self, now: Timestamp) {
        self.last_ask = self.last_ask.min(now);
        self.round.began = self.round.began.min(now);
        if let Some(failing) = &mut self.failing {
            failing.since = failing.since.min(now);
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
            held.due = held.due.min(now);
        }
    }

    fn is_usable_set(&self, held: &Held<T>, now: Timestamp) -> bool {
        self.may_serve(held) && held.expires.saturating_since(now) > self.policy.margin
    }

    fn may_serve(&self, held: &Held<T>) -> bool {
        !held.rejected || self.policy.sep.is_some()
    }
}

impl<T: Expiring + Borrow<Credentials>, E: From<SlotError>> Slot<T, E> {
    /// The service rejected the set with this access key id: a refresh is due at once, and the set is
    /// not handed out again (under `sep()` it is, as published, when refreshing fails).
    ///
    /// Nothing happens when another set is held by now.
    pub fn invalidate(&mut self, access_key_id: &str) {
        match &mut self.held {
            Some(held) if held.value.borrow().access_key_id() == access_key_id => {
                held.rejected = true;
                held.due = Timestamp::MIN;
            }
            _ => {}
        }
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

/// A service's hint is honoured up to here; longer ones would outlast a set's last minutes.
const LONGEST_HINT: Duration = Duration::from_secs(300);

fn hint(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(LONGEST_HINT)
}

/// An attempt is never given less: it could only fail.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// A clock that is corrected by less than this has not been stepped.
const STEP_TOLERANCE: Duration = Duration::from_secs(10);
