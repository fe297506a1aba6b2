use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::sync::lock;

/// The last expiration for each pod and lifetime, so that the pod's next set of that lifetime expires later.
/// Expirations have whole seconds, and clients compare sets by them: of two sets of the same second none would be the
/// newer one.
#[derive(Debug, Default)]
pub(crate) struct Expiries(Mutex<HashMap<(String, Duration), Minted>>);

#[derive(Debug, Clone, Copy)]
struct Minted {
    at: Timestamp,
    expiry: Timestamp,
}

impl Expiries {
    /// Returns the expiration of a set that is minted for this pod now: after its lifetime, or a second after that of
    /// the set before it, whichever is later. A clock that was set back begins anew.
    pub(crate) fn next(&self, now: Timestamp, pod: String, lifetime: Duration) -> Timestamp {
        let mut all = lock(&self.0);
        let key = (pod, lifetime);
        let usual = whole_seconds(now + lifetime);
        let expiry = match all.get(&key) {
            Some(last) if last.at <= now => usual.max(last.expiry + Duration::from_secs(1)),
            _ => usual,
        };
        all.insert(key, Minted { at: now, expiry });
        // Pods come and go. What has no influence any more is dropped, now and then.
        if all.len().is_multiple_of(PODS) {
            all.retain(|(_, lifetime), last| {
                last.at <= now && last.expiry >= whole_seconds(now + *lifetime)
            });
        }
        expiry
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_secs(at.as_unix_secs())
}

/// So many more pods are a reason to look for those that are over.
const PODS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_rise_within_a_second_and_are_exact_otherwise() {
        let (expiries, hour) = (Expiries::default(), Duration::from_secs(3600));
        let at = Timestamp::from_unix_secs;
        let mut seen = Vec::new();
        let next = |now, pod: &str, lifetime| expiries.next(at(now), pod.to_owned(), lifetime);
        for now in [0, 0, 0, 1, 60, 30] {
            seen.push(next(now, "shop/cart-0", hour).as_unix_secs() - 3600);
        }
        assert_eq!(seen, [0, 1, 2, 3, 60, 30]);
        assert_eq!(next(30, "shop/cart-0", hour * 2), at(7230));
        assert_eq!(next(30, "shop/cart-1", hour), at(3630));
    }
}
