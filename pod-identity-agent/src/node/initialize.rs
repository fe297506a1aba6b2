//! `initialize`: makes the agent's addresses reachable on this node.
//!
//! It creates what the official agent creates: a dummy link, an address of each family on it, and a host
//! route to each in the main table. Running it again changes nothing. A failure of IPv6 is logged and ignored.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use pod_identity_core::Endpoint;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::{Error, Handle, LinkDummy, LinkUnspec, RouteMessageBuilder, new_connection};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// The official agent's name for the link.
pub(crate) const LINK: &str = "pod-id-link0";

/// Creates the link, the addresses and the routes, unless they exist.
///
/// # Errors
/// Fails if the link or its IPv4 part cannot be created.
pub(crate) async fn initialize() -> Result<(), InitializeError> {
    let (connection, handle, _) = new_connection().map_err(InitializeError::Netlink)?;
    let mut netlink = JoinSet::new();
    netlink.spawn(connection);

    let link = Link::find_or_make(&handle).await?;
    link.add(Endpoint::EKS_IPV4.into()).await?;
    if let Err(error) = link.add(Endpoint::EKS_IPV6.into()).await {
        let remedy = "leave the address out with --bind-hosts if this node has no IPv6";
        warn!(%error, remedy, "the IPv6 address is not reachable; continuing with IPv4");
    }
    info!(
        link = LINK,
        "the agent's addresses are reachable on this node"
    );
    Ok(())
}

/// Why the addresses are not reachable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitializeError {
    #[error("netlink cannot be used: {0}")]
    Netlink(#[source] io::Error),
    #[error("{step}: {}", explain(error))]
    Refused { step: String, error: Error },
    #[error(
        "a route to {address} leads to another interface (index {interface}); remove it: \
         the agent's address must lead to {LINK}"
    )]
    Elsewhere { address: IpAddr, interface: u32 },
}

struct Link<'a> {
    handle: &'a Handle,
    index: u32,
}

impl<'a> Link<'a> {
    async fn find_or_make(handle: &'a Handle) -> Result<Self, InitializeError> {
        if let Some(index) = index_of(handle).await? {
            return Self { handle, index }.up().await;
        }
        let made = handle
            .link()
            .add(LinkDummy::new(LINK).build())
            .execute()
            .await;
        unless(made, EEXIST, || {
            format!("cannot make the link {LINK} (the kernel module `dummy` must be there)")
        })?;
        let index = index_of(handle).await?;
        let index = index.ok_or_else(|| InitializeError::Refused {
            step: format!("cannot find the link {LINK}, which was just made"),
            error: Error::RequestFailed,
        })?;
        Self { handle, index }.up().await
    }

    async fn up(self) -> Result<Self, InitializeError> {
        let up = LinkUnspec::new_with_index(self.index).up().build();
        let done = self.handle.link().set(up).execute().await;
        done.map_err(refused(|| format!("cannot bring {LINK} up")))?;
        Ok(self)
    }

    /// Adds one address and the route to it.
    async fn add(&self, address: IpAddr) -> Result<(), InitializeError> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let added = self.handle.address().add(self.index, address, prefix);
        unless(added.execute().await, EEXIST, || {
            format!("cannot add {address} to {LINK}")
        })?;

        match self.route_to(address).await? {
            Some(interface) if interface == self.index => Ok(()),
            Some(interface) => Err(InitializeError::Elsewhere { address, interface }),
            None => {
                let added = self
                    .handle
                    .route()
                    .add(self.host_route(address))
                    .execute()
                    .await;
                unless(added, EEXIST, || format!("cannot add a route to {address}"))
            }
        }
    }

    fn host_route(&self, address: IpAddr) -> RouteMessage {
        match address {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, 32)
                .output_interface(self.index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, 128)
                .output_interface(self.index)
                .build(),
        }
    }

    /// Returns the interface of the host route to `address` in the main table.
    async fn route_to(&self, address: IpAddr) -> Result<Option<u32>, InitializeError> {
        let (any, wanted, prefix) = match address {
            IpAddr::V4(v4) => {
                let any = RouteMessageBuilder::<Ipv4Addr>::new().build();
                (any, RouteAddress::Inet(v4), 32)
            }
            IpAddr::V6(v6) => {
                let any = RouteMessageBuilder::<Ipv6Addr>::new().build();
                (any, RouteAddress::Inet6(v6), 128)
            }
        };
        let mut routes = self.handle.route().get(any).execute();
        let step = || format!("cannot read the routes to {address}");
        while let Some(route) = routes.try_next().await.map_err(refused(step))? {
            let leads_there = route
                .attributes
                .contains(&RouteAttribute::Destination(wanted.clone()));
            if leads_there
                && route.header.destination_prefix_length == prefix
                && route.header.table == MAIN
            {
                return Ok(route
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        RouteAttribute::Oif(interface) => Some(*interface),
                        _ => None,
                    }));
            }
        }
        Ok(None)
    }
}

async fn index_of(handle: &Handle) -> Result<Option<u32>, InitializeError> {
    let mut links = handle.link().get().match_name(LINK.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(Error::NetlinkError(error)) if error.raw_code() == ENODEV => Ok(None),
        Err(error) => Err(refused(|| format!("cannot look for {LINK}"))(error)),
    }
}

/// An object that exists already is no error.
fn unless(
    result: Result<(), Error>,
    code: i32,
    step: impl FnOnce() -> String,
) -> Result<(), InitializeError> {
    match result {
        Err(Error::NetlinkError(error)) if error.raw_code() == code => Ok(()),
        other => other.map_err(refused(step)),
    }
}

fn refused(step: impl FnOnce() -> String) -> impl FnOnce(Error) -> InitializeError {
    |error| InitializeError::Refused {
        step: step(),
        error,
    }
}

/// Returns the kernel's message, with the remedy for the most common refusal.
fn explain(error: &Error) -> String {
    let Error::NetlinkError(refusal) = error else {
        return error.to_string();
    };
    let message = refusal.to_io().to_string();
    match refusal.raw_code() {
        EPERM => message + "; it requires CAP_NET_ADMIN",
        _ => message,
    }
}

/// RT_TABLE_MAIN of the kernel.
const MAIN: u8 = 254;

// Netlink's codes are the kernel's error numbers, negated.
const EPERM: i32 = -1;
const EEXIST: i32 = -17;
const ENODEV: i32 = -19;
