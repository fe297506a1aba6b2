use tokio::sync::watch;

/// A trigger that starts the shutdown, and the watcher that every server and connection holds.
pub(crate) fn channel() -> (DrainTrigger, DrainWatcher) {
    let (sender, receiver) = watch::channel(false);
    (DrainTrigger(sender), DrainWatcher(receiver))
}

/// Starts the shutdown. Dropping it starts it too: who could still stop the servers has gone.
#[derive(Debug)]
pub(crate) struct DrainTrigger(watch::Sender<bool>);

impl DrainTrigger {
    /// Tells every watcher to drain. Repeated calls change nothing.
    pub(crate) fn start(&self) {
        self.0.send_replace(true);
    }

    /// Another watcher.
    pub(crate) fn watcher(&self) -> DrainWatcher {
        DrainWatcher(self.0.subscribe())
    }
}

/// Tells its holder to finish: a listener stops accepting, a connection ends after its answer.
#[derive(Debug, Clone)]
pub(crate) struct DrainWatcher(watch::Receiver<bool>);

impl DrainWatcher {
    /// Waits until the shutdown has started.
    pub(crate) async fn started(&mut self) {
        // An error says that the trigger was dropped, which means the same.
        let _started = self.0.wait_for(|started| *started).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_watcher_waits_until_the_trigger_fires_or_is_dropped() {
        for end in [DrainTrigger::start as fn(&_), |_| {}] {
            let (trigger, mut early) = channel();
            assert_eq!(early.started().now_or_never(), None);
            end(&trigger);
            let mut late = trigger.watcher();
            drop(trigger);
            for watcher in [&mut early, &mut late] {
                assert_eq!(watcher.started().now_or_never(), Some(()));
            }
        }
    }
}
