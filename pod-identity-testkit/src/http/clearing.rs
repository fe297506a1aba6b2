use tokio::sync::watch;

/// Counts how often the faults have been cleared, so that a held request notices the next time.
#[derive(Debug, Default)]
pub(crate) struct Clearings(watch::Sender<u64>);

impl Clearings {
    pub(crate) fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn watch(&self) -> Clearing {
        let cleared = self.0.subscribe();
        let before = *cleared.borrow();
        Clearing { cleared, before }
    }
}

/// Notices a clearing after its creation.
#[derive(Debug)]
pub(crate) struct Clearing {
    cleared: watch::Receiver<u64>,
    before: u64,
}

impl Clearing {
    /// Returns when `wait` does, or when the faults are cleared.
    pub(crate) async fn or(&mut self, wait: impl Future<Output = ()>) {
        let before = self.before;
        tokio::select! {
            () = wait => {}
            _cleared = self.cleared.wait_for(|count| *count != before) => {}
        }
    }
}
