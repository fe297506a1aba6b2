//! A simulation of many nodes before one EKS Auth that is limited per account, in virtual time.
//!
//! The nodes run the agent's own state: its cache with the refresh policy, the budgets and the pace. Only what is
//! outside of it is modelled: the SDKs in the pods, EKS Auth, and, to compare with, an agent with the published rules
//! of the official one. Equal seeds give equal runs.

mod eks_auth;
mod node;
mod official;
mod page;
mod pod;
mod run;
mod scenario;

use std::time::Duration;

use run::Run;
use scenario::{Agents, SCENARIOS};

#[test]
fn after_a_restart_of_everything_each_pod_has_credentials_as_soon_as_eks_auth_can_grant_them() {
    let restart = &SCENARIOS[0];
    let record = Run::new(restart, Agents::Ours, SAMPLE).finish();
    let longest = record.longest_without();
    // 600 at 2 a second take 300 s, as 150,000 at 500 do.
    assert!(longest < Duration::from_secs(330), "{longest:?}");
    // Each node learns alone how little of the limit is its share, by being throttled.
    let wasted = record.throttled as f64 / record.granted as f64;
    assert!(
        wasted < 1.0,
        "{wasted} throttled exchanges for each granted"
    );
}

/// `just fleet`, which sets how many nodes are simulated.
#[test]
#[ignore = "it takes minutes"]
fn write_the_page_of_the_fleet() {
    let nodes = pod_identity_cli::variable("POD_IDENTITY_FLEET_NODES");
    let nodes = nodes.expect("it must be set");
    page::write(nodes.parse().expect("it must be a number of nodes"));
}

/// One node in 250.
const SAMPLE: usize = 20;
