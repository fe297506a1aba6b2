use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// Whether pods can be sent to this node, and if not, why.
///
/// Each thing that pods need holds a [`ReadinessBlocker`]. The agent is ready once every blocker has been
/// released. One that blocks again later makes the agent *degraded*: it stays ready, because what is
/// cached is still served, and the report gives the reason. In strict mode a degraded agent is not ready.
#[derive(Debug)]
pub(crate) struct Readiness {
    strict: bool,
    /// In the order of their making, in which reasons are reported. Held to read or write one entry.
    blockers: Mutex<Vec<Blocker>>,
    /// Tells those who wait in [`ready`](Self::ready) to look again.
    changed: watch::Sender<()>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Blocker {
    /// What pods need.
    name: String,
    /// Why it blocks; `None` when released.
    reason: Option<String>,
    /// The same for pods; `None` if they may read all of it.
    #[serde(skip)]
    for_pods: Option<String>,
    /// Whether it has been released at least once.
    released: bool,
}

/// Keeps the agent from being ready until released.
///
/// Dropping it does not release it: what ends without having succeeded has not made the agent ready.
#[derive(Debug)]
pub(crate) struct ReadinessBlocker {
    readiness: Arc<Readiness>,
    index: usize,
}

/// The answer to a readiness probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) ready: bool,
    /// `ok`, or all that is wrong.
    pub(crate) message: String,
}

impl Readiness {
    pub(crate) fn new(strict: bool) -> Arc<Self> {
        Arc::new(Self {
            strict,
            blockers: Mutex::default(),
            changed: watch::Sender::default(),
        })
    }

    /// A new blocker, which blocks. `name` says what pods need: it tells the blockers apart when nothing is wrong.
    pub(crate) fn blocker(
        self: &Arc<Self>,
        name: impl Into<String>,
        reason: &str,
    ) -> ReadinessBlocker {
        let mut blockers = self.lock();
        blockers.push(Blocker {
            name: name.into(),
            reason: Some(reason.to_owned()),
            for_pods: None,
            released: false,
        });
        ReadinessBlocker {
            readiness: Arc::clone(self),
            index: blockers.len() - 1,
        }
    }

    /// All of them, blocking or not, in the order of their making.
    pub(crate) fn blockers(&self) -> Vec<Blocker> {
        self.lock().clone()
    }

    /// For kubelet and for who operates the agent.
    pub(crate) fn report(&self) -> Report {
        self.report_by(|blocker| blocker.reason.as_deref())
    }

    /// Without what pods are not told, for an address that they can reach.
    pub(crate) fn report_for_pods(&self) -> Report {
        self.report_by(|blocker| blocker.for_pods.as_deref().or(blocker.reason.as_deref()))
    }

    fn report_by(&self, reason: impl Fn(&Blocker) -> Option<&str>) -> Report {
        let blockers = self.lock();
        let reasons_of = |released: bool| {
            let blocking = blockers.iter().filter(|one| one.released == released);
            let reasons: Vec<_> = blocking.filter_map(&reason).collect();
            reasons.join("; ")
        };
        let (missing, degraded) = (reasons_of(false), reasons_of(true));
        let (ready, message) = match (missing.as_str(), degraded.as_str()) {
            ("", "") => (true, "ok".to_owned()),
            ("", _) => (!self.strict, format!("degraded: {degraded}")),
            _ => (false, missing),
        };
        Report { ready, message }
    }

    /// Waits until the agent is ready.
    pub(crate) async fn ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.report().ready {
            // The sender lives as long as this does.
            changed.changed().await.ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Blocker>> {
        self.blockers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessBlocker {
    /// Blocks, for this reason instead of the one before.
    pub(crate) fn block(&self, reason: String) {
        self.update(|blocker| {
            blocker.reason = Some(reason);
            blocker.for_pods = None;
        });
    }

    /// The same for a reason of which pods are told less.
    pub(crate) fn block_in_full(&self, reason: String, for_pods: String) {
        self.update(|blocker| {
            blocker.reason = Some(reason);
            blocker.for_pods = Some(for_pods);
        });
    }

    /// Blocks no more. Repeated calls change nothing.
    pub(crate) fn release(&self) {
        self.update(|blocker| {
            blocker.reason = None;
            blocker.for_pods = None;
            blocker.released = true;
        });
    }

    /// Whether it has been released at least once.
    pub(crate) fn was_released(&self) -> bool {
        let blockers = self.readiness.lock();
        blockers
            .get(self.index)
            .is_some_and(|blocker| blocker.released)
    }

    fn update(&self, change: impl FnOnce(&mut Blocker)) {
        // Blockers are only ever added, so the index stays valid.
        if let Some(blocker) = self.readiness.lock().get_mut(self.index) {
            change(blocker);
        }
        self.readiness.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn report(readiness: &Readiness) -> (bool, String) {
        let Report { ready, message } = readiness.report();
        (ready, message)
    }

    #[test]
    fn pods_are_told_less_where_there_is_less_for_them() {
        let readiness = Readiness::new(false);
        let [first, second] = ["first", "second"].map(|name| readiness.blocker(name, name));
        first.block_in_full("the file /root/x".to_owned(), "a file".to_owned());
        assert_eq!(readiness.report().message, "the file /root/x; second");
        assert_eq!(readiness.report_for_pods().message, "a file; second");
        first.block("another".to_owned());
        assert_eq!(readiness.report_for_pods(), readiness.report());
        for blocker in [first, second] {
            blocker.release();
        }
        assert_eq!(readiness.report_for_pods().message, "ok");
    }

    #[test]
    fn the_agent_is_ready_once_every_blocker_is_released() {
        let readiness = Readiness::new(false);
        let [first, second] = ["first", "second"].map(|name| readiness.blocker(name, name));
        assert_eq!(report(&readiness), (false, "first; second".to_owned()));
        first.release();
        second.block("still second".to_owned());
        assert_eq!(report(&readiness), (false, "still second".to_owned()));
        assert!(first.was_released() && !second.was_released());
        second.release();
        assert_eq!(report(&readiness), (true, "ok".to_owned()));
    }

    #[test]
    fn a_blocker_that_blocks_again_degrades_the_agent_and_in_strict_mode_makes_it_unready() {
        for strict in [false, true] {
            let readiness = Readiness::new(strict);
            let blocker = readiness.blocker("it", "not yet");
            blocker.release();
            blocker.block("outage".to_owned());
            assert_eq!(report(&readiness), (!strict, "degraded: outage".to_owned()));
            blocker.release();
            assert_eq!(report(&readiness), (true, "ok".to_owned()));
        }
    }

    #[tokio::test]
    async fn who_waits_for_readiness_is_told() {
        let readiness = Readiness::new(false);
        let [first, second] = ["first", "second"].map(|name| readiness.blocker(name, name));
        let mut waiting = Box::pin(readiness.ready());
        first.release();
        assert_eq!(waiting.as_mut().now_or_never(), None);
        second.release();
        assert_eq!(waiting.now_or_never(), Some(()));
    }

    #[test]
    fn a_blocker_that_is_dropped_still_blocks() {
        let readiness = Readiness::new(false);
        drop(readiness.blocker("it", "never came up"));
        assert_eq!(report(&readiness), (false, "never came up".to_owned()));
    }
}
