use std::future::{self, Future};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use pod_identity_core::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::agent::service::AgentService;
use crate::eks::service::EksAuthService;
use crate::http::server::{Server, Service};
use crate::scenario::Queues;
use crate::sync::lock;
use crate::{SigningKey, TokenDefect};

/// What happens to a mock, or to a pod's token, besides the faults of requests.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Rotate,
    Spoil(TokenDefect),
    SignWith(SigningKey),
    ForgetOldKeys,
    /// Whether the issuer's documents cannot be had from now on.
    IssuerOutage(bool),
    /// Opens the gate of this name.
    Release(String),
    /// Closes the port and every connection, for a fault.
    Refuse,
    /// Listens again, after such a fault.
    Listen,
    /// Closes the port and every connection, and listens again.
    Restart,
}

/// A deed and when it is due.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) deed: Deed,
}

/// What deeds are done to.
pub(crate) trait Staged: Send + Sync + 'static {
    fn timeline(&self) -> &Timeline;

    /// What the steps are due by.
    fn now(&self) -> Timestamp;

    /// Does a deed that was due at `at`; nothing, if it is none for this.
    ///
    /// # Errors
    /// When the token cannot be written, or somebody else has taken the port.
    fn happen(&self, deed: &Deed, at: Timestamp) -> impl Future<Output = io::Result<()>> + Send;
}

/// The steps that are still to come, and the task that does them. Dropping it ends that.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// In their order. Tokio's mutex, because whoever does a step holds it until that is done.
    steps: tokio::sync::Mutex<Vec<Step>>,
    added: Arc<Notify>,
    player: Mutex<JoinSet<()>>,
}

impl Timeline {
    /// Adds steps, and does what of them is due already.
    ///
    /// # Errors
    /// As [`Staged::happen`].
    pub(crate) async fn add<S: Staged>(staged: &Arc<S>, added: Vec<Step>) -> io::Result<()> {
        if added.is_empty() {
            return Ok(());
        }
        let timeline = staged.timeline();
        let mut steps = timeline.steps.lock().await;
        steps.extend(added);
        steps.sort_by_key(|step| step.at);
        drop(steps);
        let caught_up = Self::catch_up(&**staged).await.map(drop);
        timeline.play(staged);
        caught_up
    }

    /// Does what is due by now, and tells when the next step is. One that fails stays due, and those after
    /// it wait.
    ///
    /// # Errors
    /// As [`Staged::happen`].
    pub(crate) async fn catch_up<S: Staged>(staged: &S) -> io::Result<Option<Timestamp>> {
        let mut steps = staged.timeline().steps.lock().await;
        let now = staged.now();
        while let Some(Step { at, deed }) = steps.first().filter(|step| step.at <= now) {
            staged.happen(deed, *at).await?;
            steps.remove(0);
        }
        Ok(steps.first().map(|step| step.at))
    }

    /// Forgets the steps of these deeds.
    #[cfg(feature = "program")]
    pub(crate) async fn forget(&self, is_meant: impl Fn(&Deed) -> bool) {
        let mut steps = self.steps.lock().await;
        steps.retain(|step| !is_meant(&step.deed));
    }

    fn play<S: Staged>(&self, staged: &Arc<S>) {
        let mut player = lock(&self.player);
        if player.is_empty() {
            player.spawn(play(Arc::downgrade(staged), Arc::clone(&self.added)));
        }
        self.added.notify_one();
    }
}

async fn play<S: Staged>(staged: Weak<S>, added: Arc<Notify>) {
    while let Some(subject) = staged.upgrade() {
        let wait = match Timeline::catch_up(&*subject).await {
            Ok(None) => None,
            Ok(Some(next)) => Some(next.saturating_since(subject.now()).min(LOOK_AGAIN)),
            // The port may become free, and the disk too.
            Err(_for_now) => Some(LOOK_AGAIN),
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

impl Staged for Server<AgentService> {
    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn now(&self) -> Timestamp {
        self.service().clock.now()
    }

    async fn happen(&self, deed: &Deed, at: Timestamp) -> io::Result<()> {
        let service = self.service();
        match deed {
            Deed::Rotate => drop(service.token.rotate(at)?),
            Deed::Spoil(defect) => service.token.volume().spoil(*defect)?,
            Deed::SignWith(key) => service.issuer.sign_with(*key),
            Deed::ForgetOldKeys => service.issuer.forget_old_keys(),
            Deed::IssuerOutage(_) => {}
            Deed::Release(gate) => {
                let _was_shut = service.faults.gates().release(gate);
            }
            Deed::Refuse | Deed::Listen | Deed::Restart => self.switch(deed).await?,
        }
        Ok(())
    }
}

impl Staged for Server<EksAuthService> {
    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn now(&self) -> Timestamp {
        self.service().clock.now()
    }

    async fn happen(&self, deed: &Deed, _at: Timestamp) -> io::Result<()> {
        let service = self.service();
        match deed {
            Deed::Rotate | Deed::Spoil(_) => {}
            Deed::SignWith(key) => service.cluster.issuer.sign_with(*key),
            Deed::ForgetOldKeys => service.cluster.issuer.forget_old_keys(),
            Deed::IssuerOutage(is_down) => {
                service.issuer_is_down.store(*is_down, Ordering::Relaxed);
            }
            Deed::Release(gate) => {
                let _was_shut = service.faults.gates().release(gate);
            }
            Deed::Refuse | Deed::Listen | Deed::Restart => self.switch(deed).await?,
        }
        Ok(())
    }
}

impl<S: Service> Server<S> {
    async fn switch(&self, deed: &Deed) -> io::Result<()> {
        if matches!(deed, Deed::Refuse | Deed::Restart) {
            self.stop().await;
        }
        if matches!(deed, Deed::Listen | Deed::Restart) {
            self.restart().await?;
        }
        Ok(())
    }
}

/// The wall clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
