use std::sync::Weak;

use pod_identity_core::{Attempt, Credentials, Failure};
use tokio::time::Instant;

use crate::FetchError;
use crate::driver::Driver;

/// What an attempt brought.
pub(crate) type Fetched = Result<Credentials, Failure<FetchError>>;

/// The duty to answer an attempt exactly once. Dropping it is an answer too: that happens when the
/// attempt panics, and when its runtime is shut down.
pub(crate) struct Answer {
    driver: Weak<Driver>,
    attempt: Attempt,
    began: Instant,
    given: bool,
}

impl Answer {
    pub(crate) fn owed_to(driver: Weak<Driver>, attempt: Attempt) -> Self {
        Self {
            driver,
            attempt,
            began: Instant::now(),
            given: false,
        }
    }

    pub(crate) fn give(mut self, fetched: Fetched) {
        self.pass_on(fetched);
    }

    fn pass_on(&mut self, fetched: Fetched) {
        if std::mem::replace(&mut self.given, true) {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            driver.handle_fetched(self.attempt, self.began.elapsed(), fetched);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pass_on(Err(FetchError::Interrupted.into_failure()));
    }
}
