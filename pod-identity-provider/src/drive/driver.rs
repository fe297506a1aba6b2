use std::fmt;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pod_identity_core::{
    Ask, Attempt, Clock, Credentials, Expiring, Failure, RefreshPolicy, Slot, Ticket, Timestamp,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::drive::published::{Published, announced};
use crate::drive::pulse::{Pulse, STALLED, Stall, StallDetector};
use crate::drive::tasks::{Offer, Tasks};
use crate::fetch::fetcher::Fetcher;
use crate::observer::{self, Before, Event};
use crate::runtime::capabilities as runtime;
use crate::runtime::timer::within;
use crate::shared_credentials::SharedCredentials;
use crate::sync::{Mutex, MutexGuard};
use crate::{FetchError, Observer, State};

/// Keeps the slot's contract: carries out the attempts that it wants, answers each exactly once, wakes it
/// at its deadlines, and publishes what it holds.
///
/// # Runtimes
/// A caller may drive its runtime only while it waits, and own several runtimes, so that none of the
/// driver's tasks can be relied on. Therefore:
/// - A wanted fetch is *offered* to the runtime of whoever notices it. It is taken from the slot by the
///   first poll of the offered task, not when the task is spawned. A runtime that is not driven takes
///   nothing, and each further caller's runtime gets an offer too.
/// - A caller that waits for an attempt on another runtime counts the [`Pulse`] of that attempt, and takes
///   the attempt over if there is none for [`STALLED`], or longer after attempts that were taken over.
/// - An attempt that was not polled for long, and then failed, is started anew: its timers ran while
///   nothing else did.
/// - After a `fork` the child has none of these tasks, and a lock that a thread of the parent held at that
///   moment stays locked in it. Therefore the child has an heir: a driver of its own, with the set.
/// - Deadlines are watched by a background task, by every caller that waits, and by every caller that
///   asks when what is published has run out. A background task that missed a deadline is replaced by one
///   on the runtime of the caller that noticed. One whose runtime ends it withdraws what is published, so that
///   the next caller notices at once.
pub(crate) struct Driver {
    /// What is handed out without a lock.
    published: ArcSwapOption<Published>,
    /// Held for the arithmetic only: never across an await, and never while a lock of `tasks` is taken.
    slot: Mutex<CredentialSlot>,
    /// Marked whenever the slot's deadline may have changed or an attempt has ended.
    changed: watch::Sender<()>,
    tasks: Tasks,
    fetcher: Arc<Fetcher>,
    policy: Arc<RefreshPolicy>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    seed: u64,
    /// The failures in a row of the latest event that an expired set is handed out; 0 before the first.
    told: AtomicU32,
    process: u32,
    /// The driver of a child process.
    heir: OnceLock<Arc<Self>>,
}

impl Driver {
    pub(crate) fn new(
        fetcher: Fetcher,
        policy: RefreshPolicy,
        seed: u64,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let policy = Arc::new(policy);
        Self {
            published: ArcSwapOption::empty(),
            slot: Mutex::new(Slot::new(policy.clone(), seed)),
            changed: watch::Sender::new(()),
            tasks: Tasks::default(),
            fetcher: Arc::new(fetcher),
            policy,
            clock,
            observer,
            seed,
            told: AtomicU32::new(0),
            process: process::id(),
            heir: OnceLock::new(),
        }
    }

    /// Returns this driver, or its heir if this is a child of the process that it was made in. The other methods
    /// may take a lock, and so are called on what this returns.
    pub(crate) fn of_this_process(self: &Arc<Self>) -> &Arc<Self> {
        if self.process == process::id() {
            return self;
        }
        let heir = self.heir.get_or_init(|| Arc::new(self.bequeath()));
        heir.of_this_process()
    }

    /// Makes the heir without a lock.
    fn bequeath(self: &Arc<Self>) -> Self {
        // Never dropped in the child: dropping what the tasks wait for would take its locks.
        std::mem::forget(self.clone());
        let seed = self.seed.wrapping_add(process::id().into());
        let mut slot = Slot::new(self.policy.clone(), seed);
        let now = self.clock.now();
        let published = self.published.swap(None);
        let set = published.and_then(|published| published.valid_set().cloned());
        if let Some(set) = set
            && set.expiration().saturating_since(now) > self.policy.margin()
        {
            slot.refresh(now);
            if let Some(attempt) = slot.poll_fetch(now) {
                slot.handle_fetched(attempt, now, Ok(set));
            }
        }
        Self {
            published: ArcSwapOption::empty(),
            slot: Mutex::new(slot),
            changed: watch::Sender::new(()),
            tasks: Tasks::default(),
            fetcher: self.fetcher.clone(),
            policy: self.policy.clone(),
            clock: self.clock.clone(),
            observer: self.observer.clone(),
            seed,
            told: AtomicU32::new(0),
            process: process::id(),
            heir: OnceLock::new(),
        }
    }

    /// Calls `take` with the published set, if nothing but reading the clock is needed to hand it out.
    pub(crate) fn with_current<R>(&self, take: impl FnOnce(&SharedCredentials) -> R) -> Option<R> {
        let published = self.published.load();
        published.as_ref()?.at(self.clock.now()).map(take)
    }

    /// Returns the published set. Callers look at that of the driver that they know, which may have an heir.
    #[cold]
    fn current(&self) -> Option<SharedCredentials> {
        self.with_current(SharedCredentials::clone)
    }

    /// Returns the set, after a fetch if there is none to hand out.
    pub(crate) async fn current_or_fetch(
        self: &Arc<Self>,
    ) -> Result<SharedCredentials, FetchError> {
        if let Some(set) = self.current() {
            return Ok(set);
        }
        let runtime = match runtime::current() {
            Ok(runtime) => runtime,
            Err(unusable) => return self.try_current().ok_or_else(|| unusable.into()),
        };
        let ticket = match self.drive(ask) {
            Ok(set) => return Ok(set),
            Err(ticket) => ticket,
        };
        self.settled(&runtime, ticket, |slot, ticket, now| {
            match slot.outcome(*ticket)? {
                // A caller that is polled late must not get what was good when the fetch ended.
                Ok(_) if !slot.is_usable(now) && slot.peek(now).is_none() => {
                    ask(slot, now).map_err(|later| *ticket = later).ok().map(Ok)
                }
                Ok(set) => Some(Ok(announced(set, now))),
                Err(error) => Some(Err(error.clone())),
            }
        })
        .await
    }

    /// Returns the set without waiting. A refresh that is due, or a fetch if there is no set to hand out,
    /// begins.
    pub(crate) fn try_current(self: &Arc<Self>) -> Option<SharedCredentials> {
        if let Some(set) = self.current() {
            return Some(set);
        }
        self.drive(|slot, now| match runtime::current() {
            Ok(_) => ask(slot, now).ok(),
            // Without a runtime there is nobody to carry out an attempt.
            Err(_) => slot.peek(now).map(|set| announced(set, now)),
        })
    }

    /// Returns the set that a call would return at once, and begins nothing.
    #[cfg(feature = "aws")]
    pub(crate) fn peek(&self) -> Option<SharedCredentials> {
        let slot = self.slot();
        let now = self.clock.now();
        slot.peek(now).map(|set| announced(set, now))
    }

    /// Fetches now, whatever is held.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<SharedCredentials, FetchError> {
        let runtime = runtime::current()?;
        let ticket = self.drive(|slot, now| slot.refresh(now));
        self.settled(&runtime, ticket, |slot, ticket, now| {
            let outcome = slot.fetch_outcome(*ticket)?;
            Some(outcome.map(|set| announced(set, now)).map_err(Clone::clone))
        })
        .await
    }

    pub(crate) fn invalidate(self: &Arc<Self>, access_key_id: &str) {
        let is_news = self.drive(|slot, now| {
            let is_news = slot.invalidate(access_key_id);
            slot.handle_timeout(now);
            is_news
        });
        if is_news {
            self.tell(&Event::Invalidated {
                access_key_id: access_key_id.to_owned(),
            });
        }
    }

    pub(crate) fn state(&self) -> State {
        let slot = self.slot();
        let now = self.clock.now();
        let held = slot.held().map(SharedCredentials::credentials);
        State {
            ready: slot.peek(now).is_some(),
            access_key_id: held.map(|held| held.access_key_id().to_owned()),
            age: slot
                .fetched_at()
                .map(|fetched| now.saturating_since(fetched)),
            expiration: held.map(|held| held.expiration()),
            next_refresh: slot.poll_timeout().filter(|_next| !slot.is_fetching()),
            last_error: slot.last_error().cloned(),
            consecutive_failures: slot.failures(),
        }
    }

    /// Waits for a fetch until `outcome` returns something, for a bounded time, whatever happens to the tasks
    /// that carry it out.
    async fn settled(
        self: &Arc<Self>,
        runtime: &Handle,
        mut ticket: Ticket,
        outcome: impl Fn(&mut CredentialSlot, &mut Ticket, Timestamp) -> Option<Settled> + Send + Sync,
    ) -> Settled {
        let wait = self.policy.wait().min(LONGEST_WAIT);
        let end = Instant::now() + wait.saturating_add(self.policy.attempt_timeout());
        let mut changed = self.changed.subscribe();
        let mut stall = StallDetector::default();
        loop {
            let settled = self.drive(|slot, now| {
                slot.handle_timeout(now);
                outcome(slot, &mut ticket, now)
            });
            if let Some(settled) = settled {
                return settled;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let error = self.slot().last_error().cloned();
                return Err(error.unwrap_or(FetchError::Interrupted));
            }
            let elsewhere = self.tasks.attempt_elsewhere(runtime);
            let pause = match stall.check(elsewhere) {
                Stall::None => self.idle(),
                Stall::Found(attempt) if self.take_over(attempt) => continue,
                Stall::Possible | Stall::Found(_) => self.idle().min(STALLED / 4),
            };
            // After a change and after the pause alike, the slot is checked again.
            within(runtime, pause.min(left), changed.changed()).await?;
        }
    }

    /// Gives up an attempt that is not polled, so that the fetch is wanted again. Returns whether it was in flight.
    fn take_over(self: &Arc<Self>, attempt: Attempt) -> bool {
        // Before the fetch can be taken again.
        self.tasks.note_takeover(attempt);
        self.drive(|slot, _now| slot.abandon(attempt))
    }

    /// Changes the slot; nothing else does. Publishes what it holds then, and offers a wanted fetch to the
    /// current runtime.
    pub(super) fn drive<R>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut CredentialSlot, Timestamp) -> R,
    ) -> R {
        let mut slot = self.slot();
        // Read under the lock, so that the slot sees the time go forward.
        let now = self.clock.now();
        let before = (slot.poll_timeout(), slot.wants_fetch());
        let result = act(&mut slot, now);
        let event = self.publish(&slot, now);
        let after = (slot.poll_timeout(), slot.wants_fetch());
        drop(slot);

        if after != before {
            self.changed.send_replace(());
        }
        if let Ok(runtime) = runtime::current() {
            let is_missed = before.0.is_some_and(|deadline| deadline + MISSED < now);
            self.tasks.ensure_background(&runtime, is_missed, || {
                background(Arc::downgrade(self), self.changed.subscribe())
            });
            if after.1 {
                let driver = Arc::downgrade(self);
                self.tasks.offer(&runtime, |offer| carry_out(driver, offer));
            }
        }
        if let Some(event) = event {
            self.tell(&event);
        }
        result
    }

    fn publish(&self, slot: &CredentialSlot, now: Timestamp) -> Option<Event> {
        let published = Published::of(slot, now).map(Arc::new);
        self.published.store(published.clone());
        // Relaxed: it is read and written under the slot's lock.
        let told = self.told.load(Ordering::Relaxed).min(slot.failures());
        let news = published.and_then(|published| published.news(told));
        let told = if news.is_some() {
            slot.failures()
        } else {
            told
        };
        self.told.store(told, Ordering::Relaxed);
        news
    }

    /// Lets the next caller ask the slot, and so look after the background task. A child process still inherits what
    /// was published.
    fn withdraw(&self) {
        let current = self.published.load();
        if let Some(published) = &*current {
            // Unless another one is published meanwhile: then a caller has just asked the slot.
            let withdrawn = Some(Arc::new(published.withdrawn()));
            self.published.compare_and_swap(&current, withdrawn);
        }
    }

    pub(super) fn handle_fetched(
        self: &Arc<Self>,
        attempt: Attempt,
        took: Duration,
        result: Fetched,
    ) {
        let events = self.drive(|slot, now| {
            let before = Before::of(slot);
            let in_time = slot.handle_fetched(attempt, now, result.map(SharedCredentials::from));
            in_time.then(|| [before.event(slot, took), before.dropped(slot)])
        });
        // The callers that wait for the attempt are woken, even if the next deadline is the same as before.
        self.changed.send_replace(());
        for event in events.into_iter().flatten().flatten() {
            self.tell(&event);
        }
    }

    fn tell(&self, event: &Event) {
        observer::notify(&*self.observer, event);
    }

    /// Learns of each change that a caller may wait for.
    #[cfg(all(test, interleaved))]
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns how long there is nothing to do; bounded, because the wall clock may be stepped meanwhile.
    fn idle(&self) -> Duration {
        let next = self.slot().poll_timeout();
        let now = self.clock.now();
        next.map_or(LONGEST_SLEEP, |next| next.saturating_since(now))
            .min(LONGEST_SLEEP)
    }

    fn slot(&self) -> MutexGuard<'_, CredentialSlot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("fetcher", &self.fetcher)
            .field("slot", &*self.slot())
            .finish_non_exhaustive()
    }
}

fn ask(slot: &mut CredentialSlot, now: Timestamp) -> Result<SharedCredentials, Ticket> {
    match slot.ask(now) {
        Ask::Ready(set) => Ok(announced(set, now)),
        Ask::Pending(ticket) => Err(ticket),
    }
}

/// Keeps the slot's deadlines while nobody asks. Ends with the driver.
async fn background(driver: Weak<Driver>, mut changed: watch::Receiver<()>) {
    let _withdrawal = Withdrawal(driver.clone());
    while let Some(driver) = driver.upgrade() {
        driver.drive(|slot, now| slot.handle_timeout(now));
        let idle = driver.idle();
        drop(driver);
        if let Ok(Err(_no_driver)) = timeout(idle, changed.changed()).await {
            return;
        }
    }
}

/// Withdraws what is published when the background task ends with its runtime. Otherwise callers would use what is
/// published, and not notice that there is no background task.
struct Withdrawal(Weak<Driver>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(driver) = self.0.upgrade() {
            driver.withdraw();
        }
    }
}

/// Takes the wanted fetch, if it is still wanted, and carries it out.
async fn carry_out(driver: Weak<Driver>, offer: Offer) {
    let pulse = Pulse::default();
    let (fetcher, completion) = {
        let Some(driver) = driver.upgrade() else {
            return;
        };
        let Some(task) = driver.tasks.accept(offer) else {
            return;
        };
        let Some(attempt) = driver.drive(|slot, now| slot.poll_fetch(now)) else {
            return;
        };
        let completion = Completion::new(Arc::downgrade(&driver), attempt);
        driver.tasks.start(task, attempt, pulse.clone());
        (driver.fetcher.clone(), completion)
    };
    let (fetched, is_stalled) = pulse
        .accompany(fetcher.fetch(completion.attempt.timeout()))
        .await;
    if is_stalled && fetched.is_err() {
        completion.abandon();
    } else {
        completion.complete(fetched);
    }
}

/// Answers an attempt exactly once. Dropping it is an answer too: it is dropped when the attempt panics,
/// and when its runtime is shut down.
struct Completion {
    driver: Weak<Driver>,
    attempt: Attempt,
    began: Instant,
    is_complete: bool,
}

impl Completion {
    fn new(driver: Weak<Driver>, attempt: Attempt) -> Self {
        Self {
            driver,
            attempt,
            began: Instant::now(),
            is_complete: false,
        }
    }

    fn complete(mut self, fetched: Fetched) {
        self.answer(fetched);
    }

    /// The attempt was not polled for so long that its failure says nothing about the agent.
    fn abandon(mut self) {
        self.is_complete = true;
        if let Some(driver) = self.driver.upgrade() {
            driver.drive(|slot, _now| slot.abandon(self.attempt));
        }
    }

    fn answer(&mut self, fetched: Fetched) {
        if std::mem::replace(&mut self.is_complete, true) {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            driver.handle_fetched(self.attempt, self.began.elapsed(), fetched);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.answer(Err(FetchError::Interrupted.into_failure()));
    }
}

/// The result of an attempt.
pub(super) type Fetched = Result<Credentials, Failure<FetchError>>;

type Settled = Result<SharedCredentials, FetchError>;

pub(super) type CredentialSlot = Slot<SharedCredentials, FetchError>;

/// A wall clock that was stepped, or a machine that was asleep, is noticed within this time if there is no caller;
/// a caller notices at once. tokio's timer wheel wakes its thread at each of its levels, four times for a sleep of
/// this length, so that an idle provider causes less than one wake-up a minute. With sleeps of a minute it would
/// cause three. A published set outlives the sleep, so that callers take no lock.
const LONGEST_SLEEP: Duration = Duration::from_secs(270);

/// No caller waits longer than this and one attempt, whatever the policy says.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A background task that is later than this for a deadline is on a runtime that nobody drives.
const MISSED: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use pod_identity_core::{Endpoint, Expiring, Secret};
    use pod_identity_testkit::SettableClock;

    use super::*;
    use crate::fetch::token_source::TokenSource;
    use crate::{HttpTransport, NoObserver, SystemResolver};

    pub(crate) const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A driver without a runtime, which is driven by the test alone.
    pub(crate) fn driver(clock: &Arc<SettableClock>) -> Arc<Driver> {
        let fetcher = Fetcher::new(
            Endpoint::parse("http://169.254.170.23/v1/credentials").unwrap(),
            TokenSource::Absent,
            Arc::new(HttpTransport::new(Duration::from_secs(1))),
            Arc::new(SystemResolver),
        );
        let policy = RefreshPolicy::provider();
        let driver = Driver::new(fetcher, policy, 7, clock.clone(), Arc::new(NoObserver));
        Arc::new(driver)
    }

    /// The same, which has fetched a set for an hour at the start.
    fn holding(clock: &Arc<SettableClock>) -> Arc<Driver> {
        let driver = driver(clock);
        driver.drive(|slot, now| {
            slot.refresh(now);
            let attempt = slot.poll_fetch(now).unwrap();
            let secret = || Secret::from("s".to_owned());
            let set = Credentials::new("key", secret(), secret(), now + HOUR);
            assert!(slot.handle_fetched(attempt, now, Ok(set.into())));
        });
        driver
    }

    #[test]
    fn a_caller_gets_a_published_set_while_the_slot_is_locked() {
        let clock = Arc::new(SettableClock::at(START));
        let driver = holding(&clock);
        let _locked = driver.slot();
        let expiration = || driver.with_current(Expiring::expiration);
        assert_eq!(expiration(), Some(START + HOUR));
        clock.advance(HOUR / 12);
        assert_eq!(expiration(), None, "it is published for five minutes");
    }

    #[test]
    fn an_heir_hands_out_what_it_has_published_while_its_slot_is_locked() {
        let clock = Arc::new(SettableClock::at(START));
        let heir = Arc::new(holding(&clock).bequeath());
        heir.drive(|slot, now| slot.handle_timeout(now));
        let (told, heard) = mpsc::channel();
        let _locked = heir.slot();
        let reader = Arc::clone(&heir);
        thread::spawn(move || {
            let mut set = pin!(reader.current_or_fetch());
            let polled = set.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            told.send(matches!(polled, Poll::Ready(Ok(_)))).unwrap();
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(true));
    }

    #[test]
    fn an_heir_begins_with_a_set_that_is_usable_and_without_a_failure_if_it_is_not() {
        let millisecond = Duration::from_millis(1);
        let margin = RefreshPolicy::provider().margin();
        for (left, is_ready) in [(margin + millisecond, true), (margin, false)] {
            let clock = Arc::new(SettableClock::at(START));
            let driver = holding(&clock);
            clock.advance(HOUR - left);
            let state = driver.bequeath().state();
            assert_eq!(state.ready, is_ready, "{left:?} left");
            assert_eq!(state.consecutive_failures, 0, "{left:?} left");
        }
    }
}
