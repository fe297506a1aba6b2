use std::fmt;
use std::time::Duration;

use pod_identity_core::{CredentialSet, Expiring, Slot, Timestamp};
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
    /// The agent answered with the set that is held already, which is kept. That is no failure.
    #[non_exhaustive]
    NoProgress {
        /// When the set expires.
        expiration: Timestamp,
        /// How many such answers there were in a row while a refresh was due, this one included; 0 if none
        /// was due.
        times: u32,
        /// Whether the set was rejected by a service
        /// ([`invalidate`](crate::PodIdentityProvider::invalidate)). It is handed out again.
        rejected: bool,
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

/// What a slot was like before it took the answer of an attempt.
pub(crate) struct Before {
    held: Option<SharedCredentials>,
    failures: u32,
    error: Option<FetchError>,
}

impl Before {
    pub(crate) fn of(slot: &Slot<SharedCredentials, FetchError>) -> Self {
        Self {
            held: slot.held().cloned(),
            failures: slot.failures(),
            error: slot.last_error().cloned(),
        }
    }

    /// What the answer has done to the slot.
    pub(crate) fn event(
        &self,
        slot: &Slot<SharedCredentials, FetchError>,
        took: Duration,
    ) -> Option<Event> {
        if let Some(new) = slot.last_error() {
            return Some(Event::Failed {
                error: new.clone(),
                took,
                failures: slot.failures(),
                repeated: self.error.as_ref().is_some_and(|old| old.is_like(new)),
            });
        }
        let held = slot.held()?;
        let expiration = held.expiration();
        Some(
            if self.held.as_ref().is_some_and(|old| old.is_same_set(held)) {
                Event::NoProgress {
                    expiration,
                    times: slot.unchanged(),
                    rejected: slot.is_rejected(),
                }
            } else {
                Event::Refreshed {
                    expiration,
                    took,
                    recovered_from: self.failures,
                }
            },
        )
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
            times: 1,
            rejected: true,
        } => {
            warn!(%expiration, "the agent hands out the rejected AWS credentials again, and has no others; they are used again");
        }
        Event::NoProgress {
            expiration,
            times: 1,
            rejected: false,
        } => {
            warn!(%expiration, "the agent has no newer AWS credentials than those held");
        }
        Event::NoProgress {
            expiration, times, ..
        } => {
            debug!(%expiration, times, "the agent has no newer AWS credentials than those held");
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
