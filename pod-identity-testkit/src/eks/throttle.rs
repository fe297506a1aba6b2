use std::collections::BTreeMap;
use std::sync::Mutex;

use pod_identity_core::Timestamp;

use crate::http::limiter::Limiter;
use crate::sync::lock;

/// How many requests EKS Auth answers, for the cluster and for each of its nodes.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    cluster: Option<Limiter>,
    node: Option<(u32, u32)>,
    nodes: Mutex<BTreeMap<String, Limiter>>,
}

impl Throttle {
    pub(crate) fn new(cluster: Option<(u32, u32)>, node: Option<(u32, u32)>) -> Self {
        Self {
            cluster: cluster.map(limiter),
            node,
            nodes: Mutex::default(),
        }
    }

    /// Whether a request passes. A node that is throttled does not use up what the cluster has.
    pub(crate) fn allows(&self, node: Option<&str>, now: Timestamp) -> bool {
        self.allows_node(node, now)
            && self
                .cluster
                .as_ref()
                .is_none_or(|limiter| limiter.allows(now))
    }

    fn allows_node(&self, node: Option<&str>, now: Timestamp) -> bool {
        let (Some(node), Some(limit)) = (node, self.node) else {
            return true;
        };
        let mut nodes = lock(&self.nodes);
        let limiter = nodes
            .entry(node.to_owned())
            .or_insert_with(|| limiter(limit));
        limiter.allows(now)
    }
}

fn limiter((per_second, burst): (u32, u32)) -> Limiter {
    Limiter::new(per_second, burst)
}
