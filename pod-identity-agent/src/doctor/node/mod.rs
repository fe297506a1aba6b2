//! The walk on a node, from the link with the agent's addresses to EKS Auth.

mod agent;
mod clock;
mod keys;
mod known;
mod link;
mod permission;
mod ports;
mod way;

use std::sync::Arc;

pub(crate) use self::known::Agent;
use crate::SdkEksAuth;
use crate::doctor::node::known::Known;
use crate::doctor::report::Report;
use crate::doctor::step::{Step, walk};
use crate::doctor::surroundings::Surroundings;
use crate::tokens::key_ring::KeyRing;

/// Walks the chain of a node. `eks_auth` is set up as the agent's is; `has_cluster` says whether it has the
/// name of a cluster to ask for. `keys` has the agent's sources of the cluster's keys, or is `None` if it is not to
/// verify tokens.
pub(crate) async fn examine(
    around: Surroundings,
    agent: Agent,
    eks_auth: Arc<SdkEksAuth>,
    has_cluster: bool,
    keys: Option<KeyRing>,
) -> Report {
    let mut known = Known {
        around,
        agent,
        eks_auth,
        has_cluster,
        keys,
        may_ask: false,
    };
    Report {
        place: "node",
        taken: walk(&STEPS, &mut known).await,
        hint: None,
    }
}

const STEPS: [Step<Known>; 9] = [
    Step {
        name: "link",
        run: |known| Box::pin(link::check(known)),
    },
    Step {
        name: "IPv6",
        run: |_known| Box::pin(link::check_ipv6()),
    },
    Step {
        name: "ports",
        run: |known| Box::pin(ports::check(known)),
    },
    Step {
        name: "agent",
        run: |known| Box::pin(agent::check(known)),
    },
    Step {
        name: "own credentials",
        run: |known| Box::pin(way::check_credentials(known)),
    },
    Step {
        name: "EKS Auth",
        run: |known| Box::pin(way::check(known)),
    },
    Step {
        name: "permission",
        run: |known| Box::pin(permission::check(known)),
    },
    Step {
        name: "clock",
        run: |known| Box::pin(clock::check(known)),
    },
    Step {
        name: "token keys",
        run: |known| Box::pin(keys::check(known)),
    },
];
