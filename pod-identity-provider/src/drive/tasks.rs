use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::Attempt;
use tokio::runtime::{Handle, Id};

use crate::drive::pulse::{Pulse, STALLED};
use crate::runtime::owned_task::OwnedTask;

/// The driver's tasks, which end with it.
///
/// The locks are held for a comparison, and while a task is spawned: a runtime that is shutting down drops
/// a task at once, which runs no code of the driver before the task was polled.
#[derive(Default)]
pub(crate) struct Tasks {
    background: Mutex<Option<Task>>,
    /// The tasks that are to take a wanted fetch, and were not polled yet.
    offered: Mutex<Offered>,
    in_flight: Mutex<Option<InFlight>>,
}

#[derive(Default)]
struct Offered {
    serial: u64,
    /// One for each runtime.
    tasks: Vec<(Offer, Task)>,
}

struct InFlight {
    attempt: Attempt,
    pulse: Pulse,
    task: Task,
    patience: Duration,
    is_taken_over: bool,
}

/// The number of an offered task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer(u64);

pub(crate) struct Task {
    runtime: Id,
    handle: OwnedTask,
}

impl Task {
    fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            runtime: runtime.id(),
            handle: OwnedTask::new(runtime.spawn(task).abort_handle()),
        }
    }

    fn is_alive(&self) -> bool {
        self.handle.is_alive()
    }
}

impl Tasks {
    /// Starts the background task unless there is one alive, or if that one has missed a deadline and is
    /// on another runtime.
    pub(crate) fn ensure_background<F>(
        &self,
        runtime: &Handle,
        is_missed: bool,
        task: impl FnOnce() -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut background = lock(&self.background);
        let is_good = |task: &Task| task.is_alive() && (!is_missed || task.runtime == runtime.id());
        if !background.as_ref().is_some_and(is_good) {
            *background = Some(Task::spawn(runtime, task()));
        }
    }

    /// Offers a wanted fetch to a runtime, unless it has an offer already. Other runtimes keep theirs, because any
    /// runtime may be one that is not driven. The first to poll its task takes the fetch.
    pub(crate) fn offer<F>(&self, runtime: &Handle, task: impl FnOnce(Offer) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut offered = lock(&self.offered);
        offered.tasks.retain(|(_offer, task)| task.is_alive());
        let is_here = |(_offer, task): &(Offer, Task)| task.runtime == runtime.id();
        if offered.tasks.iter().any(is_here) {
            return;
        }
        offered.serial += 1;
        let offer = Offer(offered.serial);
        let task = Task::spawn(runtime, task(offer));
        offered.tasks.push((offer, task));
    }

    /// Returns the task of an offer to itself, once.
    pub(crate) fn accept(&self, offer: Offer) -> Option<Task> {
        let mut offered = lock(&self.offered);
        let is_this = |(other, _task): &(Offer, Task)| *other == offer;
        let at = offered.tasks.iter().position(is_this)?;
        Some(offered.tasks.swap_remove(at).1)
    }

    /// Keeps the task of an attempt that has started. The attempt before it has ended or was taken over.
    pub(crate) fn start(&self, task: Task, attempt: Attempt, pulse: Pulse) {
        let mut in_flight = lock(&self.in_flight);
        let before = in_flight.take();
        let patience = match &before {
            Some(before) if before.is_taken_over => (before.patience * 2).min(MOST_PATIENCE),
            _ => STALLED,
        };
        *in_flight = Some(InFlight {
            attempt,
            pulse,
            task,
            patience,
            is_taken_over: false,
        });
        drop(in_flight);
        // Dropped outside the lock: an attempt that is aborted answers, which may take a lock of `self`.
        drop(before);
    }

    /// Takes note that an attempt was taken over: the next one has twice as long to beat. Otherwise runtimes that
    /// are all busy for longer than [`STALLED`] at a time could take every attempt from each other.
    pub(crate) fn note_takeover(&self, attempt: Attempt) {
        if let Some(in_flight) = &mut *lock(&self.in_flight)
            && in_flight.attempt == attempt
        {
            in_flight.is_taken_over = true;
        }
    }

    /// Returns the latest attempt, if it is on a runtime other than this, and how long it may be without a beat. The
    /// runtime may be one of the parent process.
    pub(crate) fn attempt_elsewhere(&self, runtime: &Handle) -> Option<(Attempt, Pulse, Duration)> {
        let in_flight = lock(&self.in_flight);
        let attempt = in_flight.as_ref()?;
        let is_finished = attempt.task.handle.is_finished();
        let is_elsewhere = attempt.task.runtime != runtime.id() && !is_finished;
        is_elsewhere.then(|| (attempt.attempt, attempt.pulse.clone(), attempt.patience))
    }
}

/// The longest time without a beat after which an attempt is taken over: [`STALLED`], four times doubled.
const MOST_PATIENCE: Duration = STALLED.saturating_mul(16);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;

    use pod_identity_core::{Credentials, RefreshPolicy, Slot, SlotError, Timestamp};
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// A runtime that runs nothing but what it is asked to.
    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    fn attempt() -> Attempt {
        let policy = RefreshPolicy::provider().into();
        let mut slot = Slot::<Credentials, SlotError>::new(policy, 7);
        slot.refresh(Timestamp::MIN);
        slot.poll_fetch(Timestamp::MIN).unwrap()
    }

    #[test]
    fn each_runtime_has_one_offer_and_keeps_it_when_another_one_gets_one() {
        let (first, second, ended) = (runtime(), runtime(), runtime());
        let tasks = Tasks::default();
        let (told, offers) = mpsc::channel();
        let offer = |runtime: &Handle| {
            tasks.offer(runtime, |offer| {
                told.send(offer).unwrap();
                pending()
            });
        };
        let handles = [
            first.handle(),
            first.handle(),
            ended.handle(),
            second.handle(),
        ];
        handles.into_iter().for_each(offer);
        drop(ended);
        offer(first.handle());
        let offers: Vec<Offer> = offers.try_iter().collect();
        let [one, of_ended, other] = offers[..] else {
            panic!("{offers:?}")
        };
        assert!(tasks.accept(of_ended).is_none(), "it was forgotten");
        assert!(tasks.accept(one).is_some());
        assert!(tasks.accept(one).is_none(), "it is accepted once");
        assert!(tasks.accept(other).is_some());
    }

    #[test]
    fn an_attempt_may_pause_twice_as_long_after_each_one_that_was_taken_over() {
        let (here, elsewhere) = (runtime(), runtime());
        let tasks = Tasks::default();
        let patience = |is_taken_over| {
            let attempt = attempt();
            let task = Task::spawn(elsewhere.handle(), pending());
            tasks.start(task, attempt, Pulse::default());
            if is_taken_over {
                tasks.note_takeover(attempt);
            }
            let (_attempt, _pulse, patience) = tasks.attempt_elsewhere(here.handle()).unwrap();
            patience.as_millis()
        };
        let taken_over = [(); 6].map(|()| patience(true));
        assert_eq!(taken_over, [80, 160, 320, 640, 1280, 1280]);
        assert_eq!(patience(false), 1280, "the one before was taken over");
        assert_eq!(patience(false), 80, "the one before was answered");
    }

    #[test]
    fn a_background_task_is_replaced_if_it_has_ended_or_has_missed_a_deadline_elsewhere() {
        let (first, second) = (runtime(), runtime());
        let tasks = Tasks::default();
        let is_started = |runtime: &Runtime, is_missed| {
            let mut is_started = false;
            tasks.ensure_background(runtime.handle(), is_missed, || {
                is_started = true;
                pending()
            });
            is_started
        };
        assert!(is_started(&first, false));
        assert!(!is_started(&first, false));
        assert!(!is_started(&first, true), "it is on this runtime");
        assert!(!is_started(&second, false), "it has missed nothing");
        assert!(is_started(&second, true));
        drop(second);
        assert!(is_started(&first, false), "its runtime has ended");
    }

    #[test]
    fn an_attempt_is_elsewhere_while_it_runs_on_another_runtime() {
        let (first, second) = (runtime(), runtime());
        let tasks = Tasks::default();
        assert!(tasks.attempt_elsewhere(second.handle()).is_none());
        let (attempt, pulse) = (attempt(), Pulse::default());
        tasks.start(Task::spawn(first.handle(), pending()), attempt, pulse);
        assert!(tasks.attempt_elsewhere(first.handle()).is_none());
        let elsewhere = tasks.attempt_elsewhere(second.handle());
        assert_eq!(elsewhere.map(|found| found.0), Some(attempt));
        drop(first);
        assert!(tasks.attempt_elsewhere(second.handle()).is_none());
    }
}
