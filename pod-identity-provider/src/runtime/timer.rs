use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::panics::catch_panic;
use crate::runtime::capabilities::{self, Unusable};

/// Awaits `future`, which must not panic, for at most this time. Returns `None` when the time is up.
///
/// A task ends with its runtime, but a caller in `Handle::block_on` outlives it, and tokio's timers panic in such a
/// caller. That is the error here.
pub(crate) async fn within<F: Future>(
    runtime: &Handle,
    time: Duration,
    future: F,
) -> Result<Option<F::Output>, Unusable> {
    match catch_panic(timeout(time, future)).await {
        Ok(output) => Ok(output.ok()),
        Err(_shut_down) => Err(capabilities::shut_down(runtime.id())),
    }
}
