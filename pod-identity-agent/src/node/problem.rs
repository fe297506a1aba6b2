use std::net::IpAddr;

use pod_identity_core::Endpoint;

use crate::node::network::{Holder, LINK, Network, NetworkError, Route, Target};

/// Why one of the agent's addresses is not, or not surely, reachable on this node. The text ends in the
/// command that mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("the link {LINK} is not there: run `pod-identity-agent initialize`")]
    NoLink,
    #[error("the link {LINK} is down: `ip link set {LINK} up`")]
    LinkDown,
    #[error("{LINK} does not have {0}: run `pod-identity-agent initialize`")]
    NoAddress(IpAddr),
    #[error("no route leads to {0}: run `pod-identity-agent initialize`")]
    NoRoute(IpAddr),
    #[error("{address} is also on the interface {}; remove it: `{}`", holder.interface, holder.removal)]
    HeldElsewhere { address: IpAddr, holder: Holder },
    #[error("a route to {address} leads to another interface, {interface}; remove it: `{removal}`")]
    RouteElsewhere {
        address: IpAddr,
        interface: String,
        removal: String,
    },
    #[error("a route to {address} is `{kind}`; remove it: `{removal}`")]
    RouteRefuses {
        address: IpAddr,
        kind: &'static str,
        removal: String,
    },
}

impl Problem {
    /// Whether something else holds an address or a route, which `initialize` does not take away.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::HeldElsewhere { .. } | Self::RouteElsewhere { .. } | Self::RouteRefuses { .. }
        )
    }

    /// Whether it concerns an agent that serves these addresses.
    pub(crate) fn concerns(&self, hosts: &[IpAddr]) -> bool {
        let is_served = |address| hosts.iter().any(|host| includes(*host, address));
        self.address().is_none_or(is_served)
    }

    /// The address that is concerned; `None` if the link is, and so both are.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::NoLink | Self::LinkDown => None,
            Self::NoAddress(address) | Self::NoRoute(address) => Some(*address),
            Self::HeldElsewhere { address, .. }
            | Self::RouteElsewhere { address, .. }
            | Self::RouteRefuses { address, .. } => Some(*address),
        }
    }
}

/// Whether a socket at this host also gets what is for this address. `[::]` also takes IPv4, unless it was told not to,
/// which cannot be seen from outside.
pub(crate) fn includes(host: IpAddr, address: IpAddr) -> bool {
    let is_any = host.is_unspecified() && (host.is_ipv6() || address.is_ipv4());
    is_any || host == address
}

/// What is wrong with the link, its addresses and the routes to them. IPv6 counts only where the node has
/// it. What something else holds comes first: until that is gone, `initialize` cannot mend the others.
///
/// # Errors
/// Fails if netlink does not answer.
pub(crate) async fn problems(network: &Network) -> Result<Vec<Problem>, NetworkError> {
    let link = network.link().await?;
    let mut found = Vec::new();
    match link {
        None => found.push(Problem::NoLink),
        Some(link) if !link.is_up => found.push(Problem::LinkDown),
        Some(_) => {}
    }
    for address in addresses() {
        found.extend(problems_of(network, address, link.is_some()).await?);
    }
    found.sort_by_key(|problem| !problem.is_conflict());
    Ok(found)
}

/// Those of one address.
pub(crate) async fn problems_of(
    network: &Network,
    address: IpAddr,
    has_link: bool,
) -> Result<Vec<Problem>, NetworkError> {
    let mut found = Vec::new();
    let (ours, others): (Vec<_>, Vec<_>) = network
        .holders(address)
        .await?
        .into_iter()
        .partition(|holder| holder.interface == LINK);
    if has_link && ours.is_empty() {
        found.push(Problem::NoAddress(address));
    }
    let held = |holder| Problem::HeldElsewhere { address, holder };
    found.extend(others.into_iter().map(held));

    let mut leads_to_link = false;
    for route in network.routes(address).await? {
        let Route { target, removal } = route;
        match target {
            Target::Interface(interface) if interface == LINK => leads_to_link = true,
            Target::Interface(interface) => found.push(Problem::RouteElsewhere {
                address,
                interface,
                removal,
            }),
            Target::Refusing(kind) => found.push(Problem::RouteRefuses {
                address,
                kind,
                removal,
            }),
        }
    }
    if has_link && !leads_to_link {
        found.push(Problem::NoRoute(address));
    }
    Ok(found)
}

/// The agent's addresses, as far as this node has their family.
fn addresses() -> impl Iterator<Item = IpAddr> {
    let v4 = IpAddr::from(Endpoint::EKS_IPV4);
    let v6 = has_ipv6().then_some(IpAddr::from(Endpoint::EKS_IPV6));
    [v4].into_iter().chain(v6)
}

/// Whether the kernel has IPv6, and it is not turned off for all interfaces or for the link.
pub(crate) fn has_ipv6() -> bool {
    let is_off = |interface: &str| {
        let setting = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        std::fs::read_to_string(setting).is_ok_and(|value| value.trim() == "1")
    };
    std::path::Path::new("/proc/net/if_inet6").exists() && !is_off("all") && !is_off(LINK)
}
