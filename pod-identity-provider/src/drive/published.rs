use std::time::Duration;

use pod_identity_core::{Expiring, Slot, Timestamp};

use crate::FetchError;
use crate::observer::Event;
use crate::shared_credentials::SharedCredentials;

/// What may be handed out without asking the slot, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    set: SharedCredentials,
    from: Timestamp,
    until: Timestamp,
    /// When the set expired, if it is handed out because there is no better one.
    expired: Option<Timestamp>,
    failures: u32,
    error: Option<FetchError>,
}

impl Published {
    /// Returns what each ask gets from `now` on, until the slot has something to do or the set is about to
    /// expire.
    pub(crate) fn of(slot: &Slot<SharedCredentials, FetchError>, now: Timestamp) -> Option<Self> {
        let until = slot.quiet_until(now)?;
        let set = slot.peek(now)?;
        Some(Self {
            from: now - STEP_TOLERANCE,
            until: until.min(now + ANNOUNCED_LIFE / 2),
            expired: (!slot.is_usable(now)).then(|| set.expiration()),
            failures: slot.failures(),
            error: slot.last_error().cloned(),
            set: announced(set, now),
        })
    }

    /// Returns the set, or `None` if the slot has to be asked at `now`: it has something to do, or the clock was
    /// stepped back.
    pub(crate) fn at(&self, now: Timestamp) -> Option<&SharedCredentials> {
        (self.from <= now && now < self.until).then_some(&self.set)
    }

    /// Returns a copy that [`at`](Self::at) never returns.
    pub(crate) fn withdrawn(&self) -> Self {
        Self {
            until: self.from,
            ..self.clone()
        }
    }

    /// Returns the set, unless it had expired when it was published.
    pub(crate) fn valid_set(&self) -> Option<&SharedCredentials> {
        self.expired.is_none().then_some(&self.set)
    }

    /// Returns the event that an expired set is handed out, if there are more failures in a row than `told`, which the
    /// latest such event had.
    pub(crate) fn news(&self, told: u32) -> Option<Event> {
        let expired = self.expired.filter(|_expired| self.failures > told)?;
        Some(Event::ServingExpired {
            expired,
            failures: self.failures,
            error: self.error.clone(),
        })
    }
}

/// Returns a set as it is handed out at `now`. An expired one is announced with a few seconds of life, because an
/// SDK that is given a past expiry treats that as an error; the service decides whether it accepts the set.
pub(crate) fn announced(set: &SharedCredentials, now: Timestamp) -> SharedCredentials {
    if set.expiration() > now {
        set.announced_until(now + ANNOUNCED_LIFE)
    } else {
        set.expiring_at(now + STALE_LIFE)
    }
}

/// The longest life with which a set is announced to the AWS SDK, whose cache keeps a set until then: a
/// rotated set, another role and a rejected key reach its clients within this time. Published sets are
/// announced anew at half of it, so that the SDK's cache asks every 5 to 10 minutes, which takes less than
/// a microsecond and never waits.
const ANNOUNCED_LIFE: Duration = Duration::from_secs(10 * 60);

/// The life with which an expired set is announced. It is published for another second, and whoever counts
/// less than 15 s as expired still accepts it then. Not longer, because caches keep the set until then
/// although the agent may be back.
const STALE_LIFE: Duration = Duration::from_secs(16);

/// Two threads may read the clock in another order than they read what is published.
const STEP_TOLERANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pod_identity_core::{Credentials, Failure, FailureClass, RefreshPolicy, Secret};

    use super::*;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const MILLISECOND: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);

    type HeldSlot = Slot<SharedCredentials, FetchError>;

    /// A slot that has fetched a set at the start.
    fn holding(lifetime: Duration) -> HeldSlot {
        let mut slot = Slot::new(Arc::new(RefreshPolicy::provider()), 7);
        slot.refresh(START);
        let attempt = slot.poll_fetch(START).unwrap();
        let secret = || Secret::from("s".to_owned());
        let set = Credentials::new("key", secret(), secret(), START + lifetime);
        slot.handle_fetched(attempt, START, Ok(set.into()));
        slot
    }

    /// Lets an attempt fail at this time.
    fn fail(slot: &mut HeldSlot, now: Timestamp) {
        slot.handle_timeout(now);
        slot.refresh(now);
        let attempt = slot.poll_fetch(now).unwrap();
        let failure = Failure::new(FailureClass::Denied, FetchError::Interrupted);
        slot.handle_fetched(attempt, now, Err(failure));
    }

    #[test]
    fn a_set_is_published_from_a_second_ago_for_five_minutes() {
        let published = Published::of(&holding(6 * HOUR), START).unwrap();
        let (from, until) = (
            START - Duration::from_secs(1),
            START + Duration::from_secs(300),
        );
        let is_there = |now| published.at(now).is_some();
        assert!(is_there(from) && is_there(START) && is_there(until - MILLISECOND));
        assert!(!is_there(from - MILLISECOND) && !is_there(until));
        assert!(published.valid_set().is_some());
        assert!(published.news(0).is_none());
    }

    #[test]
    fn a_set_is_published_until_the_slot_has_something_to_do() {
        let slot = holding(Duration::from_secs(600));
        let due = slot.due_at().unwrap();
        let published = Published::of(&slot, due - Duration::from_secs(60)).unwrap();
        assert!(published.at(due - MILLISECOND).is_some());
        assert!(published.at(due).is_none());
    }

    #[test]
    fn each_failed_attempt_tells_once_that_an_expired_set_is_handed_out() {
        let mut slot = holding(HOUR);
        let expired = START + HOUR + Duration::from_secs(60);
        fail(&mut slot, expired);
        let first = Published::of(&slot, expired).unwrap();
        assert!(first.valid_set().is_none());
        assert_eq!(
            first.at(expired).unwrap().expiration(),
            expired + STALE_LIFE
        );
        let news = first.news(0);
        assert!(matches!(
            news,
            Some(Event::ServingExpired { failures: 1, .. })
        ));
        assert!(first.news(1).is_none());
        let later = expired + Duration::from_secs(60);
        fail(&mut slot, later);
        let news = Published::of(&slot, later).unwrap().news(1);
        assert!(matches!(
            news,
            Some(Event::ServingExpired { failures: 2, .. })
        ));
    }

    #[test]
    fn a_set_is_announced_with_an_expiry_to_come_also_at_the_moment_of_its_own() {
        let end = START + HOUR;
        let set = holding(HOUR).held().unwrap().clone();
        for (now, expiry) in [(end - MILLISECOND, end), (end, end + STALE_LIFE)] {
            assert_eq!(announced(&set, now).expiration(), expiry, "{now}");
        }
    }
}
