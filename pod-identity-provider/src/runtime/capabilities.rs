use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::process;
use std::sync::{RwLock, TryLockError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

/// Why the provider cannot work on a runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unusable {
    /// There is none, and tokio would panic in the caller.
    Missing,
    /// It has no timers, and tokio would panic in the caller.
    WithoutTime,
    /// It was shut down, and tokio's timers would panic in the caller.
    ShutDown,
    /// It is the parent's, and a wait on it would have no end.
    LeftInParent,
}

/// Returns the runtime that this is called on, if the provider can work on it.
pub(crate) fn current() -> Result<Handle, Unusable> {
    let handle = Handle::try_current().map_err(|_reason| Unusable::Missing)?;
    match TIME.of(handle.id(), || drop(tokio::time::sleep(Duration::ZERO))) {
        Capability::Present => Ok(handle),
        Capability::Absent => Err(Unusable::WithoutTime),
        Capability::Ended => Err(Unusable::ShutDown),
        Capability::LeftInParent => Err(Unusable::LeftInParent),
    }
}

/// Notes that the runtime was shut down. No runtime starts again.
pub(crate) fn shut_down(runtime: Id) -> Unusable {
    TIME.learn(runtime, Capability::Ended);
    Unusable::ShutDown
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
    /// The runtime was shut down.
    Ended,
    /// The runtime was used before a `fork`, and this is the child: the threads that drove it are in the parent.
    LeftInParent,
}

/// What is known of the runtimes that were asked about last. tokio tells only by a panic, whose message the panic
/// hook prints: so it is tried once for each runtime.
///
/// The lock is never waited for: in a child after `fork` it may stay locked for ever.
struct Latest(RwLock<VecDeque<Known>>);

#[derive(Clone, Copy)]
struct Known {
    runtime: Id,
    process: u32,
    capability: Capability,
}

impl Latest {
    const fn unknown() -> Self {
        Self(RwLock::new(VecDeque::new()))
    }

    fn of(&self, runtime: Id, probe: fn()) -> Capability {
        match self.known(runtime) {
            Some(known) if known.process == process::id() => known.capability,
            Some(_) => Capability::LeftInParent,
            None => {
                // Without the lock: a panic hook may ask as well.
                let capability = match catch_unwind(probe) {
                    Ok(()) => Capability::Present,
                    Err(_panic) => Capability::Absent,
                };
                self.learn(runtime, capability);
                capability
            }
        }
    }

    fn known(&self, runtime: Id) -> Option<Known> {
        let latest = match self.0.try_read() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        latest
            .iter()
            .find(|known| known.runtime == runtime)
            .copied()
    }

    fn learn(&self, runtime: Id, capability: Capability) {
        let mut latest = match self.0.try_write() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        latest.retain(|known| known.runtime != runtime);
        latest.truncate(MOST_KNOWN - 1);
        latest.push_front(Known {
            runtime,
            process: process::id(),
            capability,
        });
    }
}

/// More runtimes than a process has at a time.
const MOST_KNOWN: usize = 64;

static TIME: Latest = Latest::unknown();
#[cfg(unix)]
static IO: Latest = Latest::unknown();
