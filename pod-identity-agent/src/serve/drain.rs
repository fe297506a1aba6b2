use tokio::sync::watch;

/// A trigger that starts the shutdown, and the watcher that every server and connection holds.
pub(crate) fn channel() -> (DrainTrigger, DrainWatcher) {
    let (sender, receiver) = watch::channel(None);
    (DrainTrigger(sender), DrainWatcher(receiver))
}

/// Starts the shutdown. Dropping it starts it too: who could still stop the servers has gone.
#[derive(Debug)]
pub(crate) struct DrainTrigger(watch::Sender<Option<Drain>>);

/// Why a shutdown has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Nobody answers after this process, and whoever waits for its end should not wait for long.
    Ending,
    /// Another process answers new connections already.
    HandedOver,
}

impl DrainTrigger {
    /// Tells every watcher to drain. Repeated calls change nothing.
    pub(crate) fn start(&self, drain: Drain) {
        self.0.send_if_modified(|started| {
            let is_first = started.is_none();
            started.get_or_insert(drain);
            is_first
        });
    }

    /// Another watcher.
    pub(crate) fn watcher(&self) -> DrainWatcher {
        DrainWatcher(self.0.subscribe())
    }
}

/// Tells its holder to finish: a listener stops accepting, a connection ends after its answer.
#[derive(Debug, Clone)]
pub(crate) struct DrainWatcher(watch::Receiver<Option<Drain>>);

impl DrainWatcher {
    /// Waits until the shutdown has started.
    pub(crate) async fn started(&mut self) -> Drain {
        let started = self.0.wait_for(Option::is_some).await;
        // An error says that the trigger was dropped.
        started
            .ok()
            .and_then(|drain| *drain)
            .unwrap_or(Drain::Ending)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_watcher_waits_until_the_trigger_is_pulled_or_dropped() {
        let pull: fn(&DrainTrigger) = |trigger| trigger.start(Drain::HandedOver);
        for (end, expected) in [(pull, Drain::HandedOver), (|_| {}, Drain::Ending)] {
            let (trigger, mut early) = channel();
            assert_eq!(early.started().now_or_never(), None);
            end(&trigger);
            let mut late = trigger.watcher();
            drop(trigger);
            for watcher in [&mut early, &mut late] {
                assert_eq!(watcher.started().now_or_never(), Some(expected));
            }
        }
    }
}
