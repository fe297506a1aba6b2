use std::net::IpAddr;

use pod_identity_core::Endpoint;

use crate::doctor::finding::Finding;
use crate::doctor::findings::{
    ADDRESS_ELSEWHERE, ADDRESS_MISSING, LINK_DOWN, LINK_MISSING, NO_IPV6, NO_NETLINK,
    ROUTE_ELSEWHERE, ROUTE_MISSING, ROUTE_REFUSES,
};
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::node::network::{LINK, Network};
use crate::node::problem::{Problem, has_ipv6, problems};

/// The link, its addresses and the routes to them, as far as the agent serves these addresses.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let hosts = &known.agent.hosts;
    if !hosts.iter().any(is_on_the_link) {
        return Outcome::Skipped("the agent serves no address that the link has");
    }
    let found = async { problems(&Network::open()?).await }.await;
    match found {
        Ok(found) => Outcome::of(
            found
                .iter()
                .filter(|problem| problem.concerns(hosts))
                .map(|problem| finding_of(problem).with(problem.to_string()))
                .collect(),
            format!("{LINK} is up, with its addresses and the routes to them"),
        ),
        Err(error) => Outcome::found(&NO_NETLINK, error.to_string()),
    }
}

pub(super) async fn check_ipv6() -> Outcome {
    if has_ipv6() {
        Outcome::Fine("on".to_owned())
    } else {
        Outcome::found(&NO_IPV6, "")
    }
}

fn is_on_the_link(host: &IpAddr) -> bool {
    *host == Endpoint::EKS_IPV4 || *host == Endpoint::EKS_IPV6
}

fn finding_of(problem: &Problem) -> &'static Finding {
    match problem {
        Problem::NoLink => &LINK_MISSING,
        Problem::LinkDown => &LINK_DOWN,
        Problem::NoAddress(_) => &ADDRESS_MISSING,
        Problem::NoRoute(_) => &ROUTE_MISSING,
        Problem::HeldElsewhere { .. } => &ADDRESS_ELSEWHERE,
        Problem::RouteElsewhere { .. } => &ROUTE_ELSEWHERE,
        Problem::RouteRefuses { .. } => &ROUTE_REFUSES,
    }
}
