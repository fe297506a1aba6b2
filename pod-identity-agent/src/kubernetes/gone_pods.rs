use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashlink::LinkedHashMap;
use pod_identity_core::{KubernetesName, Timestamp};

/// The pods of this node that existed and exist no more, by UID.
///
/// A pod is gone only if it has been seen before: with the wrong name of the node, or before the first list,
/// no pod is gone. It may come back, because the API server may answer with a state that is older than what
/// it said before.
#[derive(Debug, Default)]
pub(crate) struct GonePods {
    /// Held for a look-up or a change. The cache of credentials takes it while it holds its own lock, so no
    /// other lock may be taken while this one is held.
    pods: Mutex<Pods>,
}

#[derive(Debug, Default)]
struct Pods {
    present: HashSet<KubernetesName>,
    /// Since when, the oldest first.
    gone: LinkedHashMap<KubernetesName, Timestamp>,
}

impl GonePods {
    /// Whether a pod has been gone for [a while](GRACE).
    pub(crate) fn contains(&self, uid: &KubernetesName, now: Timestamp) -> bool {
        let pods = self.lock();
        let since = pods.gone.get(uid);
        since.is_some_and(|since| now.saturating_since(*since) >= GRACE)
    }

    /// These are all pods of the node.
    pub(crate) fn set_present(&self, uids: HashSet<KubernetesName>, now: Timestamp) {
        let mut pods = self.lock();
        let known: Vec<KubernetesName> = pods.present.drain().collect();
        for uid in known {
            if !uids.contains(&uid) {
                pods.note_gone(uid, now);
            }
        }
        for uid in uids {
            pods.note_present(uid);
        }
    }

    pub(crate) fn add(&self, uid: KubernetesName) {
        self.lock().note_present(uid);
    }

    pub(crate) fn remove(&self, uid: KubernetesName, now: Timestamp) {
        let mut pods = self.lock();
        pods.present.remove(&uid);
        pods.note_gone(uid, now);
    }

    /// How many pods the node has.
    pub(crate) fn present_len(&self) -> usize {
        self.lock().present.len()
    }

    fn lock(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pods {
    fn note_present(&mut self, uid: KubernetesName) {
        self.gone.remove(&uid);
        if self.present.len() < MAX_PODS {
            self.present.insert(uid);
        }
    }

    fn note_gone(&mut self, uid: KubernetesName, now: Timestamp) {
        if !self.gone.contains_key(&uid) {
            self.gone.insert(uid, now);
        }
        if self.gone.len() > MAX_PODS {
            self.gone.pop_front();
        }
    }
}

/// A pod that is deleted by force may run for its grace period, usually 30 s, and some longer.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Of each kind. No node has as many pods; one that is not kept counts as never seen.
pub(crate) const MAX_PODS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> KubernetesName {
        KubernetesName::label(name).unwrap()
    }

    fn uids<const N: usize>(names: [&str; N]) -> HashSet<KubernetesName> {
        names.into_iter().map(uid).collect()
    }

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    #[test]
    fn a_pod_that_was_seen_is_gone_after_a_while_and_may_come_back() {
        let pods = GonePods::default();
        let later = START + GRACE;
        assert!(!pods.contains(&uid("cart"), later), "nobody was seen");
        pods.set_present(uids(["cart", "till"]), START);
        pods.remove(uid("cart"), START);
        let just_before = START + (GRACE - Duration::from_secs(1));
        assert!(!pods.contains(&uid("cart"), just_before));
        assert!(pods.contains(&uid("cart"), later));
        pods.remove(uid("cart"), later);
        assert!(pods.contains(&uid("cart"), later), "the first time counts");
        pods.add(uid("cart"));
        assert!(!pods.contains(&uid("cart"), later));
        pods.set_present(uids(["cart"]), START);
        assert!(pods.contains(&uid("till"), later), "missing from a list");
        assert!(!pods.contains(&uid("cart"), later));
        assert_eq!(pods.present_len(), 1);
    }

    #[test]
    fn whatever_the_api_server_says_few_pods_are_kept() {
        let pods = GonePods::default();
        for number in 0..3 * MAX_PODS {
            pods.add(uid(&format!("p{number}")));
        }
        assert_eq!(pods.present_len(), MAX_PODS);
        pods.set_present(HashSet::new(), START);
        for number in 0..3 * MAX_PODS {
            pods.remove(uid(&format!("q{number}")), START);
        }
        assert_eq!(pods.lock().gone.len(), MAX_PODS);
        let later = START + GRACE;
        let newest = uid(&format!("q{}", 3 * MAX_PODS - 1));
        assert!(pods.contains(&newest, later) && !pods.contains(&uid("p0"), later));
    }
}
