use std::sync::{Mutex, MutexGuard, PoisonError};

use pod_identity_core::Attempt;
use tokio::runtime::{Handle, Id};

use crate::drive::pulse::Pulse;
use crate::runtime::owned_task::OwnedTask;

/// The driver's tasks, which end with it.
///
/// The locks are held for a comparison, and while a task is spawned: a runtime that is shutting down drops
/// a task at once, which runs no code of the driver before the task was polled.
#[derive(Default)]
pub(crate) struct Tasks {
    background: Mutex<Option<Task>>,
    /// The latest task that is to take a wanted fetch, and was not polled yet.
    offered: Mutex<Offered>,
    in_flight: Mutex<Option<InFlight>>,
}

#[derive(Default)]
struct Offered {
    serial: u64,
    task: Option<Task>,
}

struct InFlight {
    attempt: Attempt,
    pulse: Pulse,
    task: Task,
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

    /// Offers a wanted fetch to a runtime, unless it has an offer already. The offer to another runtime is
    /// withdrawn, because that runtime may not be driven.
    pub(crate) fn offer<F>(&self, runtime: &Handle, task: impl FnOnce(Offer) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut offered = lock(&self.offered);
        let is_pending = |task: &Task| task.is_alive() && task.runtime == runtime.id();
        if offered.task.as_ref().is_some_and(is_pending) {
            return;
        }
        offered.serial += 1;
        let offer = Offer(offered.serial);
        offered.task = Some(Task::spawn(runtime, task(offer)));
    }

    /// Returns the task of an offer to itself. `None` if the offer was withdrawn.
    pub(crate) fn accept(&self, offer: Offer) -> Option<Task> {
        let mut offered = lock(&self.offered);
        if offered.serial == offer.0 {
            offered.task.take()
        } else {
            None
        }
    }

    /// Keeps the task of an attempt that has started. The attempt before it has ended or was given up.
    pub(crate) fn start(&self, task: Task, attempt: Attempt, pulse: Pulse) {
        let in_flight = InFlight {
            attempt,
            pulse,
            task,
        };
        let before = lock(&self.in_flight).replace(in_flight);
        // Dropped outside the lock: an attempt that is aborted answers, which may take a lock of `self`.
        drop(before);
    }

    /// Returns the latest attempt, if it is on another runtime than this. That may be one of the parent process.
    pub(crate) fn attempt_elsewhere(&self, runtime: &Handle) -> Option<(Attempt, Pulse)> {
        let in_flight = lock(&self.in_flight);
        let attempt = in_flight.as_ref()?;
        let is_finished = attempt.task.handle.is_finished();
        let is_elsewhere = attempt.task.runtime != runtime.id() && !is_finished;
        is_elsewhere.then(|| (attempt.attempt, attempt.pulse.clone()))
    }
}

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
    fn a_runtime_has_one_offer_and_the_offer_to_another_one_is_withdrawn() {
        let (first, second) = (runtime(), runtime());
        let tasks = Tasks::default();
        let (told, offers) = mpsc::channel();
        for runtime in [&first, &first, &second] {
            tasks.offer(runtime.handle(), |offer| {
                told.send(offer).unwrap();
                pending()
            });
        }
        let offers: Vec<Offer> = offers.try_iter().collect();
        let [withdrawn, current] = offers[..] else {
            panic!("{offers:?}")
        };
        assert!(tasks.accept(withdrawn).is_none());
        assert!(tasks.accept(current).is_some());
        assert!(tasks.accept(current).is_none(), "it is accepted once");
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
        assert_eq!(elsewhere.map(|(elsewhere, _)| elsewhere), Some(attempt));
        drop(first);
        assert!(tasks.attempt_elsewhere(second.handle()).is_none());
    }
}
