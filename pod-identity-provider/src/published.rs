use std::time::Duration;

use pod_identity_core::{Expiring, RefreshPolicy, Slot, Timestamp};

use crate::FetchError;
use crate::observer::Event;
use crate::shared_credentials::SharedCredentials;

/// What may be handed out without asking the slot, and for how long.
#[derive(Debug)]
pub(crate) struct Published {
    set: SharedCredentials,
    from: Timestamp,
    until: Timestamp,
    /// When the set expired that is handed out for want of a better one.
    expired: Option<Timestamp>,
    failures: u32,
}

impl Published {
    /// From what the slot would answer at `now`. It stays true until the slot has something to do or the
    /// set is about to expire.
    pub(crate) fn of(
        slot: &Slot<SharedCredentials, FetchError>,
        policy: &RefreshPolicy,
        now: Timestamp,
    ) -> Option<Self> {
        let set = slot.peek(now)?;
        let expired = (!slot.is_usable(now)).then(|| set.expiration());
        let set = match expired {
            Some(_) => set.expiring_at(now + GRACE),
            None => set.clone(),
        };
        let end = set.expiration() - policy.margin();
        Some(Self {
            from: now - STEP_TOLERANCE,
            until: slot.poll_timeout().map_or(end, |next| next.min(end)),
            expired,
            failures: slot.failures(),
            set,
        })
    }

    /// The set, unless the slot has to be asked at `now`: it has something to do, or the clock was
    /// stepped back.
    pub(crate) fn at(&self, now: Timestamp) -> Option<&SharedCredentials> {
        (self.from <= now && now < self.until).then_some(&self.set)
    }

    /// What is worth telling: an expired set is handed out, for the first time since another attempt
    /// failed.
    pub(crate) fn news_since(&self, before: Option<&Self>) -> Option<Event> {
        let told = before
            .is_some_and(|before| before.expired.is_some() && before.failures == self.failures);
        self.expired
            .filter(|_expired| !told)
            .map(|expired| Event::ServingExpired {
                expired,
                failures: self.failures,
            })
    }

    pub(crate) fn set(&self) -> &SharedCredentials {
        &self.set
    }
}

/// How long an expired set is said to live. The service decides whether it accepts it; an SDK that is
/// given a past expiry treats that as an error. Source: `design.md`.
const GRACE: Duration = Duration::from_secs(60);

/// Two threads may read the clock in another order than they look at what is published.
const STEP_TOLERANCE: Duration = Duration::from_secs(1);
