use std::fmt;

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
/// On Linux the coarse one (`CLOCK_REALTIME_COARSE`): it is behind by up to a tick of the kernel's
/// timer, a few milliseconds, and cheaper, and it is read whenever credentials are handed out. It is
/// asked through the C library, so that tools which set the time of one program, such as libfaketime,
/// work.
///
/// ```
/// use pod_identity_core::{Clock, SystemClock, Timestamp};
///
/// assert!(SystemClock.now() > Timestamp::from_unix_secs(1_700_000_000));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let millis = now.tv_sec.saturating_mul(1000);
        Timestamp::from_unix_millis(millis.saturating_add(now.tv_nsec / 1_000_000))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }
}
