use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pod_identity_core::{
    Ask, Attempt, Clock, Credentials, Failure, RefreshPolicy, Slot, Ticket, Timestamp,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::fetch::Source;
use crate::observer::{self, Event};
use crate::published::Published;
use crate::shared_credentials::SharedCredentials;
use crate::tasks::Tasks;
use crate::{FetchError, Observer, State};

/// Keeps the slot's contract: starts the attempts that it hands out, answers each exactly once, wakes
/// it at its deadlines, and publishes what it holds.
///
/// The deadlines are watched by a background task, by everybody who waits, and by everybody who asks
/// when what is published has run out: it works with any one of them.
pub(crate) struct Driver {
    /// What is handed out without a lock.
    published: ArcSwapOption<Published>,
    /// Held for the arithmetic only; never across an await, nor while a task is started.
    slot: Mutex<CredentialSlot>,
    /// Marked whenever the slot's deadline may have changed or an attempt has ended.
    changed: watch::Sender<()>,
    tasks: Tasks,
    source: Arc<Source>,
    policy: Arc<RefreshPolicy>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Driver {
    pub(crate) fn new(
        source: Source,
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
            source: Arc::new(source),
            policy,
            clock,
            observer,
        }
    }

    /// A look at the set, if nothing but reading the clock is needed to hand it out.
    pub(crate) fn with_current<R>(&self, look: impl FnOnce(&SharedCredentials) -> R) -> Option<R> {
        let published = self.published.load();
        published.as_ref()?.at(self.clock.now()).map(look)
    }

    /// The set, after a fetch if need be.
    pub(crate) async fn current_or_fetch(
        self: &Arc<Self>,
    ) -> Result<SharedCredentials, FetchError> {
        require_runtime()?;
        match self.ask() {
            Ok(set) => Ok(set),
            Err(ticket) => self.settled(ticket).await,
        }
    }

    /// The set as it is; a refresh that is due begins.
    pub(crate) fn try_current(self: &Arc<Self>) -> Option<SharedCredentials> {
        match Handle::try_current() {
            Ok(_) => self.ask().ok(),
            // An attempt needs a runtime; the background task has one.
            Err(_) => self.drive(|_slot, _now| ()).1,
        }
    }

    /// Fetches now, whatever is held.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<SharedCredentials, FetchError> {
        require_runtime()?;
        let (ticket, _) = self.drive(|slot, now| slot.refresh(now));
        let set = self.settled(ticket).await?;
        match self.slot().last_error() {
            Some(error) => Err(error.clone()),
            None => Ok(set),
        }
    }

    pub(crate) fn invalidate(self: &Arc<Self>, access_key_id: &str) {
        // The refresh is due now: the background task is woken, because the deadline has moved.
        self.drive(|slot, _now| slot.invalidate(access_key_id));
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

    fn ask(self: &Arc<Self>) -> Result<SharedCredentials, Ticket> {
        let (asked, handed_out) = self.drive(|slot, now| match slot.ask(now) {
            Ask::Ready(set) => Ok(set.clone()),
            Ask::Pending(ticket) => Err(ticket),
        });
        asked.map(|set| handed_out.unwrap_or(set))
    }

    /// Waits for a fetch. Bounded, whatever becomes of the tasks that work on it.
    async fn settled(self: &Arc<Self>, ticket: Ticket) -> Result<SharedCredentials, FetchError> {
        let budget = self.policy.wait().min(LONGEST_WAIT) + self.policy.attempt_timeout();
        let mut changed = self.changed.subscribe();
        let outcome = timeout(budget, async {
            loop {
                let (outcome, handed_out) = self.drive(|slot, now| {
                    slot.handle_timeout(now);
                    slot.outcome(ticket)
                        .map(|outcome| outcome.cloned().map_err(Clone::clone))
                });
                match outcome {
                    Some(outcome) => return outcome.map(|set| handed_out.unwrap_or(set)),
                    // Both ends of the pause mean the same: look again.
                    None => drop(timeout(self.idle(), changed.changed()).await),
                }
            }
        });
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(self
                .slot()
                .last_error()
                .cloned()
                .unwrap_or(FetchError::Interrupted)),
        }
    }

    /// The one way to the slot for everything that may change it. Starts what the slot wants started;
    /// returns what it would hand out now.
    fn drive<R>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut CredentialSlot, Timestamp) -> R,
    ) -> (R, Option<SharedCredentials>) {
        let runtime = Handle::try_current().ok();
        let mut slot = self.slot();
        // Read under the lock, so that the slot sees the time go forward.
        let now = self.clock.now();
        let deadline = slot.poll_timeout();
        let result = act(&mut slot, now);
        let attempt = runtime.as_ref().and_then(|_| slot.poll_fetch(now));
        let (handed_out, event) = self.publish(&slot, now);
        let moved = slot.poll_timeout() != deadline;
        drop(slot);

        if moved {
            self.changed.send_replace(());
        }
        if let Some(event) = event {
            self.tell(&event);
        }
        if let Some(runtime) = runtime {
            self.tasks.ensure_background(&runtime, || {
                background(Arc::downgrade(self), self.changed.subscribe())
            });
            if let Some(attempt) = attempt {
                self.start(attempt, &runtime);
            }
        }
        (result, handed_out)
    }

    fn publish(
        &self,
        slot: &CredentialSlot,
        now: Timestamp,
    ) -> (Option<SharedCredentials>, Option<Event>) {
        let published = Published::of(slot, &self.policy, now).map(Arc::new);
        let set = published.as_ref().map(|published| published.set().clone());
        let before = self.published.swap(published.clone());
        (
            set,
            published.and_then(|published| published.news_since(before.as_deref())),
        )
    }

    fn start(self: &Arc<Self>, attempt: Attempt, runtime: &Handle) {
        let source = self.source.clone();
        let completion = Completion::new(Arc::downgrade(self), attempt);
        self.tasks.start_attempt(runtime, async move {
            let fetched = source.fetch(attempt.timeout()).await;
            completion.complete(fetched);
        });
    }

    fn handle_fetched(self: &Arc<Self>, attempt: Attempt, took: Duration, result: Fetched) {
        let (event, _) = self.drive(|slot, now| {
            let failures = slot.failures();
            let error = slot.last_error().cloned();
            let in_time = slot.handle_fetched(attempt, now, result.map(SharedCredentials::from));
            in_time
                .then(|| Event::after(slot, took, failures, error.as_ref()))
                .flatten()
        });
        // Those who wait for the attempt are woken, even if the next deadline is the same as before.
        self.changed.send_replace(());
        if let Some(event) = event {
            self.tell(&event);
        }
    }

    fn tell(&self, event: &Event) {
        observer::log(event);
        self.observer.observe(event);
    }

    /// How long nothing has to be done; bounded, because the wall clock may be stepped meanwhile.
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
            .field("source", &self.source)
            .field("slot", &*self.slot())
            .finish_non_exhaustive()
    }
}

/// Waiting and fetching need tokio; an error is better than its panic.
fn require_runtime() -> Result<Handle, FetchError> {
    Handle::try_current().map_err(|_reason| FetchError::NoRuntime)
}

/// Refreshes in time though nobody asks. Ends with the driver.
async fn background(driver: Weak<Driver>, mut changed: watch::Receiver<()>) {
    while let Some(driver) = driver.upgrade() {
        driver.drive(|slot, now| slot.handle_timeout(now));
        let idle = driver.idle();
        drop(driver);
        if let Ok(Err(_no_driver)) = timeout(idle, changed.changed()).await {
            return;
        }
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
type Fetched = Result<Credentials, Failure<FetchError>>;

type CredentialSlot = Slot<SharedCredentials, FetchError>;

/// A wall clock that was stepped, or a machine that was asleep, is noticed within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Nobody waits longer, whatever the policy says; plus one attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
