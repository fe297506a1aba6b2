use std::fmt;
use std::time::SystemTime;

use crate::Timestamp;

/// Where the time comes from.
///
/// The logic of this crate takes `now` as an argument; drivers read it from a `Clock`, so that a test
/// can set it. [`SystemClock`] is the default.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock.
///
/// ```
/// use pod_identity_core::{Clock, SystemClock, Timestamp};
///
/// assert!(SystemClock.now() > Timestamp::from_unix_secs(1_700_000_000));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
