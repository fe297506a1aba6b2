use std::collections::BTreeMap;
use std::sync::Mutex;

use pod_identity_core::{Timestamp, TokenBucket};

use crate::sync::lock;

/// The rate of requests that EKS Auth answers, for the cluster and for each of its nodes.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    cluster: Option<Mutex<TokenBucket>>,
    node: Option<(u32, u32)>,
    nodes: Mutex<BTreeMap<String, TokenBucket>>,
}

impl Throttle {
    pub(crate) fn new(cluster: Option<(u32, u32)>, node: Option<(u32, u32)>) -> Self {
        Self {
            cluster: cluster.map(bucket).map(Mutex::new),
            node,
            nodes: Mutex::default(),
        }
    }

    /// Returns whether a request passes. A throttled node does not use up the limit of the cluster.
    pub(crate) fn allows(&self, node: Option<&str>, now: Timestamp) -> bool {
        self.allows_node(node, now)
            && self
                .cluster
                .as_ref()
                .is_none_or(|bucket| lock(bucket).try_take(now))
    }

    fn allows_node(&self, node: Option<&str>, now: Timestamp) -> bool {
        let (Some(node), Some(limit)) = (node, self.node) else {
            return true;
        };
        let mut nodes = lock(&self.nodes);
        let of_node = nodes
            .entry(node.to_owned())
            .or_insert_with(|| bucket(limit));
        of_node.try_take(now)
    }
}

fn bucket((per_second, burst): (u32, u32)) -> TokenBucket {
    TokenBucket::new(burst, per_second.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn after_a_burst_requests_pass_at_the_rate() {
        let throttle = Throttle::new(Some((1000, 500)), None);
        let passed = |now, tries| (0..tries).filter(|_| throttle.allows(None, now)).count();
        let start = Timestamp::from_unix_secs(1_772_366_400);
        assert_eq!(passed(start, 600), 500);
        assert_eq!(passed(start + Duration::from_millis(20), 600), 20);
        assert_eq!(passed(start, 10), 0, "the clock went back");
        assert_eq!(passed(start + Duration::from_secs(3600), 600), 500);
    }
}
