//! `initialize`: makes the agent's addresses reachable on this node, checks that they are, or removes them.
//!
//! It creates what the official agent creates: a dummy link, an address of each family on it, and a host
//! route to each in the main table. Running it again changes nothing. A failure of IPv6 is logged and ignored.

use std::net::IpAddr;

use pod_identity_core::Endpoint;
use tracing::{info, warn};

use crate::node::network::{LINK, Link, LinkKind, Network, NetworkError};
use crate::node::problem::{Problem, problems, problems_of};

/// Creates the link, the addresses and the routes, unless they exist.
///
/// # Errors
/// Fails if the link or its IPv4 part cannot be created, or if something else holds the IPv4 address or a
/// route to it. It never changes what something else holds.
pub(crate) async fn initialize(kind: LinkKind) -> Result<(), InitializeError> {
    if let Some(error) = make_reachable(kind).await? {
        warn_of_ipv6(&error);
    }
    info!(
        link = LINK,
        "the agent's addresses are reachable on this node"
    );
    Ok(())
}

/// Does the same as [`initialize`], and logs nothing. Returns why the IPv6 part could not be created, if so.
///
/// # Errors
/// As of [`initialize`].
pub(crate) async fn make_reachable(
    kind: LinkKind,
) -> Result<Option<InitializeError>, InitializeError> {
    let network = Network::open()?;
    // Where everything is there, no capability is needed.
    if problems(&network).await?.is_empty() {
        return Ok(None);
    }
    let v4 = IpAddr::from(Endpoint::EKS_IPV4);
    refuse_conflicts(&network, v4).await?;
    let link = match network.link().await? {
        Some(link) => link,
        None => network.make_link(kind).await?,
    };
    network.bring_up(link).await?;
    add(&network, link, v4).await?;
    Ok(add(&network, link, Endpoint::EKS_IPV6.into()).await.err())
}

pub(crate) fn warn_of_ipv6(error: &InitializeError) {
    let remedy = "leave the address out with --bind-hosts if this node has no IPv6";
    warn!(%error, remedy, "the IPv6 address is not reachable; continuing with IPv4");
}

/// Adds one address and the route to it.
async fn add(network: &Network, link: Link, address: IpAddr) -> Result<(), InitializeError> {
    refuse_conflicts(network, address).await?;
    network.add_address(link, address).await?;
    Ok(network.add_route(link, address).await?)
}

async fn refuse_conflicts(network: &Network, address: IpAddr) -> Result<(), InitializeError> {
    let found = problems_of(network, address, false).await?;
    match found.into_iter().find(Problem::is_conflict) {
        Some(conflict) => Err(conflict.into()),
        None => Ok(()),
    }
}

/// Returns whether everything is there. It changes nothing, and logs each problem.
///
/// # Errors
/// Fails if netlink does not answer.
pub(crate) async fn check() -> Result<bool, InitializeError> {
    let found = problems(&Network::open()?).await?;
    for problem in &found {
        warn!("{problem}");
    }
    if found.is_empty() {
        info!(
            link = LINK,
            "the agent's addresses are reachable on this node"
        );
    }
    Ok(found.is_empty())
}

/// Removes the link, its addresses and the routes to it, if the link exists.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) async fn remove() -> Result<(), InitializeError> {
    let network = Network::open()?;
    match network.link().await? {
        Some(link) => {
            network.remove_link(link).await?;
            info!(
                link = LINK,
                "the link is removed, with its addresses and routes"
            );
        }
        None => info!(link = LINK, "the link is not there; nothing was removed"),
    }
    Ok(())
}

/// Why the addresses are not reachable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitializeError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Conflict(#[from] Problem),
}
