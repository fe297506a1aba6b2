use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{CredentialSet, Expiring, Slot, Timestamp};
use tracing::{debug, error, info, warn};

use crate::FetchError;
use crate::panics::message;
use crate::shared_credentials::SharedCredentials;

/// Receives the events of a provider, to count them or to show them. Any `Fn(&Event)` is one.
///
/// It is called without any lock held, by the call or task that caused the event: it may call the provider,
/// and must not block. An observer that owns a clone of the provider keeps it alive, with its background task,
/// until the runtime ends. A panic in it is caught and logged. The provider writes its own log events whether
/// an observer is set or not.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use pod_identity_provider::{Event, PodIdentityProvider};
///
/// let failures = Arc::new(AtomicU64::new(0));
/// let counter = failures.clone();
/// let builder = PodIdentityProvider::builder().observer(move |event: &Event| {
///     if let Event::Failed { .. } = event {
///         counter.fetch_add(1, Ordering::Relaxed);
///     }
/// });
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Handles an event.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event) {
        (**self).observe(event);
    }
}

/// The default observer, which ignores every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _event: &Event) {}
}

/// Logs an event and passes it to the observer, whose panic ends here: it must cost neither the caller nor
/// the attempt.
pub(crate) fn notify(observer: &dyn Observer, event: &Event) {
    log(event);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observer.observe(event))) {
        let message = message(&*panic);
        error!(
            message,
            "the observer of the AWS credentials provider panicked"
        );
    }
}

/// An event of a provider. It holds no secrets.
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
    /// An attempt failed. One that was not carried out, because its runtime ended or it panicked, has no event.
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
    /// Refreshing fails and the last set has expired; it is handed out nevertheless. Once for each failed
    /// attempt.
    #[non_exhaustive]
    ServingExpired {
        /// When it expired.
        expired: Timestamp,
        /// Failed attempts in a row.
        failures: u32,
        /// Why the latest attempt failed.
        error: Option<FetchError>,
    },
    /// The application has [invalidated](crate::PodIdentityProvider::invalidate) the set that is held, for the
    /// first time.
    #[non_exhaustive]
    Invalidated {
        /// The key id of the set.
        access_key_id: String,
    },
    /// The set that was held is no longer handed out, and there is no other.
    #[non_exhaustive]
    Dropped {
        /// The key id of the set.
        access_key_id: String,
        /// Why, if an attempt failed: the association is gone, or the token is invalid.
        error: Option<FetchError>,
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

    /// Returns the event that the slot has dropped its set, if the answer caused that.
    pub(crate) fn dropped(&self, slot: &Slot<SharedCredentials, FetchError>) -> Option<Event> {
        let held = self.held.as_ref().filter(|_held| slot.held().is_none())?;
        Some(Event::Dropped {
            access_key_id: held.credentials().access_key_id().to_owned(),
            error: slot.last_error().cloned(),
        })
    }

    /// Returns what the answer did to the slot.
    pub(crate) fn event(
        &self,
        slot: &Slot<SharedCredentials, FetchError>,
        took: Duration,
    ) -> Option<Event> {
        if let Some(new) = slot.last_error() {
            let is_counted = slot.failures() > self.failures;
            return is_counted.then(|| Event::Failed {
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
        Event::ServingExpired {
            expired,
            failures,
            error,
        } => {
            let error = error.as_ref().map(tracing::field::display);
            warn!(%expired, failures, error, "refreshing fails: handing out expired AWS credentials");
        }
        Event::Invalidated { access_key_id } => {
            info!(
                access_key_id,
                "AWS credentials invalidated by the application"
            );
        }
        Event::Dropped {
            access_key_id,
            error,
        } => {
            let error = error.as_ref().map(tracing::field::display);
            warn!(
                access_key_id,
                error, "AWS credentials dropped, and none are held"
            );
        }
    }
}
