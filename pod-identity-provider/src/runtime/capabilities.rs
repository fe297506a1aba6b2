use std::panic::catch_unwind;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

/// Why the provider cannot work on a runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unusable {
    /// There is none, and tokio would panic in the caller.
    Missing,
    /// It has no timers, and tokio would panic in the caller.
    WithoutTime,
    /// It is the parent's, and a wait on it would have no end.
    LeftInParent,
}

/// Returns the runtime that this is called on, if the provider can work on it.
pub(crate) fn current() -> Result<Handle, Unusable> {
    let handle = Handle::try_current().map_err(|_reason| Unusable::Missing)?;
    match TIME.of(handle.id(), || drop(tokio::time::sleep(Duration::ZERO))) {
        Capability::Present => Ok(handle),
        Capability::Absent => Err(Unusable::WithoutTime),
        Capability::LeftInParent => Err(Unusable::LeftInParent),
    }
}

/// Whether sockets work on the runtime that this is called on.
pub(crate) fn has_io() -> bool {
    // A pair of sockets is the cheapest thing that registers with the I/O driver. If making one fails without
    // a panic, the connection will report why.
    #[cfg(unix)]
    return Handle::try_current().is_ok_and(|handle| {
        let probe = || drop(tokio::net::UnixStream::pair());
        matches!(IO.of(handle.id(), probe), Capability::Present)
    });
    #[cfg(not(unix))]
    true
}

/// Whether a runtime has one of tokio's drivers.
#[derive(Clone, Copy)]
enum Capability {
    Present,
    Absent,
    /// The runtime was used before a `fork`, and this is the child: the threads that drove it are in the parent.
    LeftInParent,
}

/// What is known of the runtime that was asked about last. tokio tells only by a panic, whose message the panic
/// hook prints: so it is tried once for each runtime.
struct Latest(Mutex<Option<Known>>);

#[derive(Clone, Copy)]
struct Known {
    runtime: Id,
    process: u32,
    capability: Capability,
}

impl Latest {
    const fn unknown() -> Self {
        Self(Mutex::new(None))
    }

    fn of(&self, runtime: Id, probe: fn()) -> Capability {
        let process = process::id();
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *latest {
            Some(known) if known.runtime == runtime && known.process == process => known.capability,
            Some(known) if known.runtime == runtime => Capability::LeftInParent,
            _ => {
                let capability = match catch_unwind(probe) {
                    Ok(()) => Capability::Present,
                    Err(_panic) => Capability::Absent,
                };
                *latest = Some(Known {
                    runtime,
                    process,
                    capability,
                });
                capability
            }
        }
    }
}

static TIME: Latest = Latest::unknown();
#[cfg(unix)]
static IO: Latest = Latest::unknown();
