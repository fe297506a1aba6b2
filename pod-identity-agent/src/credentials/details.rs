use pod_identity_core::{Expiring, Slot, SlotCache, SlotKey, Timestamp};
use serde::Serialize;

use crate::credentials::entry::{Entry, TokenRequest};
use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::subject::Subject;

/// The state of the cache in detail, for people. It holds names of pods and addresses, and no secret: neither
/// tokens nor what they earned, nor digests of either.
///
/// The names of its members may change: programs read the metrics.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Details {
    pub(crate) slots: Slots,
    pub(crate) verified_tokens: usize,
    /// Tokens that were lately found not to be a pod's by the keys of now.
    pub(crate) unverified_tokens: usize,
    pub(crate) sources: Sources,
    pub(crate) pace: Pace,
}

/// The slots, counted by what they hold and by what goes on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Slots {
    held: Phases,
    empty: Phases,
    /// Of the held ones, those that are not handed out.
    unusable: usize,
    evicted: u64,
    failing: Vec<FailingSlot>,
    /// How many more are failing than are listed.
    failing_not_listed: usize,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Phases {
    idle: usize,
    /// A fetch is wanted, and waits for its turn.
    wanted: usize,
    in_flight: usize,
    /// The last attempt failed, and the next one waits.
    resting: usize,
}

/// A slot whose last attempt failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct FailingSlot {
    namespace: Option<String>,
    service_account: Option<String>,
    pod: Option<String>,
    /// Whether the agent has verified these names; otherwise they are what the token claims.
    verified: bool,
    /// The address that asked first.
    source: Option<String>,
    failures: u32,
    failing_since: Option<String>,
    error: Option<String>,
    /// When the credentials that are held meanwhile expire.
    held_until: Option<String>,
}

/// What each source may do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Sources {
    pub(crate) known: usize,
    /// Those that asked last, the latest first.
    pub(crate) latest: Vec<Source>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Source {
    /// An address, or `node`.
    pub(crate) source: String,
    pub(crate) exchanges_in_flight: usize,
    pub(crate) next_exchange_in_seconds: f64,
    pub(crate) next_verification_in_seconds: f64,
}

/// What EKS Auth grants to the whole node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Pace {
    /// `None` while EKS Auth does not throttle.
    pub(crate) limit_per_second: Option<f64>,
    pub(crate) quiet_for_seconds: f64,
}

/// How many slots and how many sources are listed.
pub(crate) const MAX_LISTED: usize = 100;

type Cache = SlotCache<SlotKey, TokenRequest, Entry, EksAuthError>;

impl Slots {
    pub(crate) fn of(cache: &mut Cache, now: Timestamp) -> Self {
        let (mut held, mut empty) = (Phases::default(), Phases::default());
        let (mut unusable, mut failing) = (0, Vec::new());
        let slots = cache
            .keys()
            .filter_map(|key| Some((*key, cache.peek(key)?)));
        for (key, slot) in slots {
            if slot.held().is_none() {
                empty.count(slot);
            } else {
                held.count(slot);
                unusable += usize::from(!slot.is_usable(now));
            }
            if slot.failures() > 0 {
                failing.push((slot.failing_since(), key));
            }
        }
        failing.sort_unstable();
        Self {
            held,
            empty,
            unusable,
            evicted: cache.evicted(),
            failing_not_listed: failing.len().saturating_sub(MAX_LISTED),
            failing: failing
                .into_iter()
                .take(MAX_LISTED)
                .map(|(_since, key)| FailingSlot::of(cache, key))
                .collect(),
        }
    }
}

impl Phases {
    fn count(&mut self, slot: &Slot<Entry, EksAuthError>) {
        let phase = if slot.wants_fetch() {
            &mut self.wanted
        } else if slot.is_fetching() {
            &mut self.in_flight
        } else if slot.is_resting() {
            &mut self.resting
        } else {
            &mut self.idle
        };
        *phase += 1;
    }
}

impl FailingSlot {
    fn of(cache: &mut Cache, key: SlotKey) -> Self {
        let request = cache.request_mut(&key);
        let source = request.as_ref().map(|request| request.address.to_string());
        let subject = request.map(|request| request.subject());
        let subject = subject.unwrap_or_default();
        let [namespace, service_account, pod] = names(&subject);
        let slot = cache.peek(&key);
        Self {
            namespace,
            service_account,
            pod,
            verified: subject.verified().is_some(),
            source,
            failures: slot.map_or(0, Slot::failures),
            failing_since: slot
                .and_then(Slot::failing_since)
                .map(|since| since.to_string()),
            error: slot.and_then(Slot::last_error).map(ToString::to_string),
            held_until: slot
                .and_then(Slot::held)
                .map(|entry| entry.expiration().to_string()),
        }
    }
}

fn names(subject: &Subject) -> [Option<String>; 3] {
    match subject {
        Subject::Verified(pod) => {
            [&pod.namespace, &pod.service_account, &pod.name].map(|name| Some(name.to_string()))
        }
        Subject::Claimed(names) => [&names.namespace, &names.service_account, &names.pod]
            .map(|name| name.as_ref().map(ToString::to_string)),
    }
}
