use std::fmt;
use std::time::Duration;

use pod_identity_core::{Expiring, Slot, Timestamp};
use tracing::{debug, info, warn};

use crate::FetchError;
use crate::shared_credentials::SharedCredentials;

/// Is told what happens, to count it or to show it.
///
/// Called outside of every lock, from whatever call or task found it out: it may call the provider, and
/// must not block. The provider's own log events are written whether an observer is set or not.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something has happened.
    fn observe(&self, event: &Event);
}

/// The observer that looks away; the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _event: &Event) {}
}

/// What an [`Observer`] is told. It holds no secrets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A new set is held.
    #[non_exhaustive]
    Refreshed {
        /// When it expires.
        expiration: Timestamp,
        /// How long the attempt took.
        took: Duration,
        /// How many attempts had failed before it.
        recovered_from: u32,
    },
    /// The agent answered with a set that does not live longer than the one held, which is kept.
    #[non_exhaustive]
    NoProgress {
        /// When the set that is kept expires.
        expiration: Timestamp,
        /// Failed attempts in a row, this one included.
        failures: u32,
    },
    /// An attempt failed.
    #[non_exhaustive]
    Failed {
        /// Why.
        error: FetchError,
        /// How long the attempt took.
        took: Duration,
        /// Failed attempts in a row, this one included.
        failures: u32,
        /// Whether the attempt before failed in the same way.
        repeated: bool,
    },
    /// Refreshing fails and the last set has expired; it is handed out all the same. Once per rest.
    #[non_exhaustive]
    ServingExpired {
        /// When it expired.
        expired: Timestamp,
        /// Failed attempts in a row.
        failures: u32,
    },
}

impl Event {
    /// What an attempt's answer has done to the slot, which had failed `failures` times before, the last
    /// time with `error`.
    pub(crate) fn after(
        slot: &Slot<SharedCredentials, FetchError>,
        took: Duration,
        failures: u32,
        error: Option<&FetchError>,
    ) -> Option<Self> {
        Some(match (slot.last_error(), slot.failures()) {
            (Some(new), count) => Self::Failed {
                error: new.clone(),
                took,
                failures: count,
                repeated: error.is_some_and(|old| old.is_like(new)),
            },
            (None, 0) => Self::Refreshed {
                expiration: slot.held()?.expiration(),
                took,
                recovered_from: failures,
            },
            (None, count) => Self::NoProgress {
                expiration: slot.held()?.expiration(),
                failures: count,
            },
        })
    }
}

/// The `tracing` events: a warning the first time, then debug; recovery once.
pub(crate) fn log(event: &Event) {
    match event {
        Event::Refreshed {
            expiration,
            took,
            recovered_from: 0,
        } => {
            debug!(%expiration, ?took, "AWS credentials fetched");
        }
        Event::Refreshed {
            expiration,
            took,
            recovered_from,
        } => {
            info!(%expiration, ?took, failures = recovered_from, "AWS credentials are fetched again");
        }
        Event::NoProgress {
            expiration,
            failures: 1,
        } => {
            warn!(%expiration, "the agent has no newer AWS credentials than those held");
        }
        Event::NoProgress {
            expiration,
            failures,
        } => {
            debug!(%expiration, failures, "the agent has no newer AWS credentials than those held");
        }
        Event::Failed {
            error,
            took,
            failures,
            repeated: false,
        } => {
            warn!(%error, ?took, failures, "fetching AWS credentials failed");
        }
        Event::Failed {
            error,
            took,
            failures,
            repeated: true,
        } => {
            debug!(%error, ?took, failures, "fetching AWS credentials failed");
        }
        Event::ServingExpired { expired, failures } => {
            warn!(%expired, failures, "refreshing fails: handing out expired AWS credentials");
        }
    }
}
