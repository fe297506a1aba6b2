use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

use crate::FetchError;

/// The runtime that this is called on, if the provider can work on it.
///
/// # Errors
/// [`FetchError::NoRuntime`] and [`FetchError::RuntimeWithoutTime`]: tokio would panic in the caller.
pub(crate) fn current() -> Result<Handle, FetchError> {
    let handle = Handle::try_current().map_err(|_reason| FetchError::NoRuntime)?;
    if has_time(handle.id()) {
        Ok(handle)
    } else {
        Err(FetchError::RuntimeWithoutTime)
    }
}

/// Whether sockets work on the runtime that this is called on.
pub(crate) fn has_io() -> bool {
    // A pair of sockets is the cheapest thing that registers with the I/O driver. What fails without a
    // panic is another trouble, which the connection will report.
    #[cfg(unix)]
    return Handle::try_current()
        .is_ok_and(|handle| IO.has(handle.id(), || drop(tokio::net::UnixStream::pair())));
    #[cfg(not(unix))]
    true
}

fn has_time(runtime: Id) -> bool {
    TIME.has(runtime, || drop(tokio::time::sleep(Duration::ZERO)))
}

/// Whether the runtime that was asked about last has a driver. tokio tells only by a panic, whose message
/// the panic hook prints: so it is tried once for each runtime.
struct Driver(Mutex<Option<(Id, bool)>>);

impl Driver {
    const fn unknown() -> Self {
        Self(Mutex::new(None))
    }

    fn has(&self, runtime: Id, probe: fn()) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((id, has)) if id == runtime => has,
            _ => {
                let has = catch_unwind(probe).is_ok();
                *known = Some((runtime, has));
                has
            }
        }
    }
}

static TIME: Driver = Driver::unknown();
#[cfg(unix)]
static IO: Driver = Driver::unknown();
