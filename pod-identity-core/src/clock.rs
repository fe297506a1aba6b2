use std::fmt;

use crate::Timestamp;

/// A source of the wall-clock time.
///
/// The logic of this crate takes `now` as an argument. Drivers read it from a `Clock`, which a test can replace.
/// [`SystemClock`] is the default.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock.
///
/// On Linux it is `CLOCK_REALTIME_COARSE`, because the clock is read whenever credentials are handed out and this
/// one is cheaper. It is late by up to a tick of the kernel's timer, a few milliseconds. It is read through the C
/// library, so that tools such as libfaketime, which set the time of one program, work.
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
        #[allow(clippy::useless_conversion, reason = "an i32 on 32-bit ARM with musl")]
        let nanos = i64::from(now.tv_nsec);
        Timestamp::from_unix_millis(millis.saturating_add(nanos / 1_000_000))
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
