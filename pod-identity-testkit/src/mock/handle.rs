use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::expect::expectation::{Expectation, assert_none, failures};
use crate::expect::seen::{Seen, timeline};
use crate::mock::hosting::Hosting;
use crate::mock::mock::Mock;
use crate::mock::mock_server::MockServer;
use crate::record::recorder::{Counts, Kept, Recorder};
use crate::sync::lock;

/// What a test holds of a mock. Dropping it verifies, and stops the mock.
#[derive(Debug)]
pub(crate) struct Handle<M: Mock<Record: Seen>> {
    pub(crate) server: Arc<MockServer<M>>,
    pub(crate) expectations: Mutex<Vec<Expectation<M::Record>>>,
    hosting: Hosting,
}

impl<M: Mock<Record: Seen>> Handle<M> {
    pub(crate) fn new(
        server: Arc<MockServer<M>>,
        expectations: Vec<Expectation<M::Record>>,
        hosting: Hosting,
    ) -> Self {
        Self {
            server,
            expectations: Mutex::new(expectations),
            hosting,
        }
    }

    pub(crate) fn service(&self) -> &Arc<M> {
        self.server.service()
    }

    pub(crate) fn recorder(&self) -> &Recorder<M::Record> {
        self.service().recorder()
    }

    /// What is wrong with the requests, however many faults had no effect.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.judge(&self.recorder().kept(), &[])
    }

    /// What [`verify`](Self::verify) panics with.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.judge(&self.recorder().kept(), &self.service().faults().unused())
    }

    /// # Panics
    /// Panics if an expectation is not met, or a fault had no effect.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let kept = self.recorder().kept();
        let failures = self.judge(&kept, &self.service().faults().unused());
        assert_none(&self.name(), &failures, &kept.requests);
    }

    fn judge(&self, kept: &Kept<M::Record>, unused_faults: &[String]) -> Vec<String> {
        let expectations = lock(&self.expectations).clone();
        let mut failures = failures(&expectations, &kept.requests, unused_faults);
        if kept.forgotten > 0 && !expectations.is_empty() {
            failures.insert(0, unknown(kept.forgotten));
        }
        failures
    }

    /// Waits, but not for longer than `limit`.
    ///
    /// # Errors
    /// Returns what was seen if the limit passes.
    pub(crate) async fn wait_within(
        &self,
        limit: Duration,
        enough: impl FnMut(&Counts) -> bool,
    ) -> Result<(), Counts> {
        let seen = self.recorder().wait_until(enough);
        let within = self.hosting.host.within(limit, seen).await;
        within.ok_or_else(|| self.recorder().counts())
    }

    /// # Panics
    /// Panics with what was seen if the limit passes.
    pub(crate) async fn wait(&self, what: &str, enough: impl FnMut(&Counts) -> bool) {
        let limit = self.hosting.wait_limit;
        if let Err(counts) = self.wait_within(limit, enough).await {
            let requests = timeline(&self.recorder().requests());
            let name = self.name();
            panic!("{name}: waited {limit:?} for {what}, saw {counts}\n{requests}");
        }
    }

    fn name(&self) -> String {
        format!("{} at {}", M::NAME, self.server.address())
    }
}

impl<M: Mock<Record: Seen>> Drop for Handle<M> {
    /// Verifies, unless the test is failing already: a panic while panicking would abort.
    fn drop(&mut self) {
        if self.hosting.verifies && !std::thread::panicking() {
            self.verify();
        }
    }
}

/// Why expectations are not met if they speak of requests that nobody remembers.
fn unknown(forgotten: usize) -> String {
    format!(
        "the oldest {forgotten} requests were forgotten, so nothing is known of them; forget the requests of one test \
         before the next, or set a higher limit (`--record-limit`, in Rust `record_limit`)"
    )
}
