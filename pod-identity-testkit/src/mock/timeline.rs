use std::future::{self, Future};
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use pod_identity_core::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::mock::action::Action;
use crate::sync::lock;

/// An action and when it is due.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

/// The target of actions.
pub(crate) trait Target: Send + Sync + 'static {
    fn timeline(&self) -> &Timeline;

    /// Returns the time that decides which steps are due.
    fn now(&self) -> Timestamp;

    /// Applies an action that was due at `at`. Does nothing if the action is not for this target.
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port.
    fn apply(&self, action: &Action, at: Timestamp) -> impl Future<Output = io::Result<()>> + Send;
}

/// The pending steps and the task that applies them. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// In the order in which they are due.
    steps: Mutex<Vec<Step>>,
    /// Held while a step is applied, so that no two are applied at once, nor out of order. Tokio's mutex,
    /// because applying one awaits.
    turn: tokio::sync::Mutex<()>,
    added: Arc<Notify>,
    player: Mutex<JoinSet<()>>,
    runtime: Handle,
}

impl Timeline {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            steps: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            added: Arc::default(),
            player: Mutex::default(),
            runtime,
        }
    }

    /// Adds steps, which are applied when they are due.
    pub(crate) fn add<T: Target>(target: &Arc<T>, added: Vec<Step>) {
        if added.is_empty() {
            return;
        }
        let timeline = target.timeline();
        {
            let mut steps = lock(&timeline.steps);
            steps.extend(added);
            steps.sort_by_key(|step| step.at);
        }
        let mut player = lock(&timeline.player);
        if player.is_empty() {
            let play = play(Arc::downgrade(target), Arc::clone(&timeline.added));
            player.spawn_on(play, &timeline.runtime);
        }
        timeline.added.notify_one();
    }

    /// Applies the steps that are due by now, and returns when the next one is. A step that fails stays due,
    /// and later ones wait.
    ///
    /// # Errors
    /// As [`Target::apply`].
    pub(crate) async fn catch_up<T: Target>(target: &T) -> io::Result<Option<Timestamp>> {
        let timeline = target.timeline();
        let _turn = timeline.turn.lock().await;
        let now = target.now();
        loop {
            let next = lock(&timeline.steps).first().cloned();
            match next {
                Some(Step { at, action }) if at <= now => {
                    target.apply(&action, at).await?;
                    timeline.remove_first(at);
                }
                next => return Ok(next.map(|step| step.at)),
            }
        }
    }

    /// Drops the steps of these actions.
    pub(crate) fn forget(&self, is_meant: impl Fn(&Action) -> bool) {
        lock(&self.steps).retain(|step| !is_meant(&step.action));
    }

    /// Removes the step that was applied; it may have been forgotten meanwhile.
    fn remove_first(&self, at: Timestamp) {
        let mut steps = lock(&self.steps);
        if steps.first().is_some_and(|step| step.at == at) {
            steps.remove(0);
        }
    }
}

async fn play<T: Target>(target: Weak<T>, added: Arc<Notify>) {
    while let Some(subject) = target.upgrade() {
        let wait = match Timeline::catch_up(&*subject).await {
            Ok(None) => None,
            Ok(Some(next)) => Some(next.saturating_since(subject.now()).min(MAX_PAUSE)),
            // The port may become free, or the disk writable.
            Err(_for_now) => Some(MAX_PAUSE),
        };
        drop(subject);
        tokio::select! {
            () = sleep(wait) => {}
            () = added.notified() => {}
        }
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => future::pending().await,
    }
}

/// The wall clock may be set while the task sleeps.
const MAX_PAUSE: Duration = Duration::from_secs(1);
