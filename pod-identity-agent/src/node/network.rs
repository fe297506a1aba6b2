use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::{
    Error, Handle, LinkDummy, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder, new_connection,
};
use tokio::task::JoinSet;

/// The official agent's name for the link.
pub(crate) const LINK: &str = "pod-id-link0";

/// The network of this node, or of this network namespace, by netlink: the link with the agent's addresses,
/// and what else has to do with them.
pub(crate) struct Network {
    handle: Handle,
    /// The connection, which ends when this value is dropped.
    _netlink: JoinSet<()>,
}

/// The link [`LINK`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    index: u32,
    pub(crate) is_up: bool,
}

/// An interface that has one of the agent's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) interface: String,
    /// The command that takes the address away from it.
    pub(crate) removal: String,
}

/// A host route to one of the agent's addresses in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) target: Target,
    /// The command that removes the route, and no other one to the address.
    pub(crate) removal: String,
}

/// What a route does with packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// It sends them to an interface. Of several, this is the first.
    Interface(String),
    /// It refuses or drops them: `unreachable`, `blackhole`, `prohibit`, as `ip route` says.
    Refusing(&'static str),
}

/// The kind of link that carries the addresses; both deliver nothing to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LinkKind {
    Dummy,
    /// For kernels without the module `dummy`.
    Ifb,
}

impl Link {
    #[cfg(test)]
    pub(crate) fn with_index(index: u32) -> Self {
        Self { index, is_up: true }
    }

    pub(crate) fn has_index(self, index: u32) -> bool {
        self.index == index
    }
}

impl Network {
    /// # Errors
    /// Fails if there is no netlink.
    pub(crate) fn open() -> Result<Self, NetworkError> {
        let (connection, handle, _) = new_connection().map_err(NetworkError::Netlink)?;
        let mut netlink = JoinSet::new();
        netlink.spawn(connection);
        Ok(Self {
            handle,
            _netlink: netlink,
        })
    }

    pub(crate) async fn link(&self) -> Result<Option<Link>, NetworkError> {
        let mut links = self
            .handle
            .link()
            .get()
            .match_name(LINK.to_owned())
            .execute();
        match links.try_next().await {
            // The kernel also finds a link of another name that has this one as an alternative: somebody's.
            Ok(Some(link)) if !is_named(&link) => Err(NetworkError::OtherLink),
            Ok(link) => Ok(link.map(|link| Link {
                index: link.header.index,
                is_up: link.header.flags.contains(LinkFlags::Up),
            })),
            Err(Error::NetlinkError(error)) if error.raw_code() == ENODEV => Ok(None),
            Err(error) => Err(refused(|| format!("cannot look for {LINK}"))(error)),
        }
    }

    /// Creates the link, which is down.
    pub(crate) async fn make_link(&self, kind: LinkKind) -> Result<Link, NetworkError> {
        let message = match kind {
            LinkKind::Dummy => LinkDummy::new(LINK).build(),
            LinkKind::Ifb => LinkMessageBuilder::<LinkDummy>::new_with_info_kind(InfoKind::Ifb)
                .name(LINK)
                .build(),
        };
        let made = self.handle.link().add(message).execute().await;
        unless(made, EEXIST, || {
            let module = kind.module();
            format!(
                "cannot make the link {LINK} (the kernel module `{module}` must be there; see --link-kind)"
            )
        })?;
        let link = self.link().await?;
        link.ok_or_else(|| NetworkError::Refused {
            step: format!("cannot find the link {LINK}, which was just made"),
            error: Error::RequestFailed,
        })
    }

    pub(crate) async fn bring_up(&self, link: Link) -> Result<(), NetworkError> {
        let up = LinkUnspec::new_with_index(link.index).up().build();
        let done = self.handle.link().set(up).execute().await;
        done.map_err(refused(|| format!("cannot bring {LINK} up")))
    }

    /// Removes the link, and with it its addresses and the routes to it.
    pub(crate) async fn remove_link(&self, link: Link) -> Result<(), NetworkError> {
        let done = self.handle.link().del(link.index).execute().await;
        unless(done, ENODEV, || format!("cannot remove {LINK}"))
    }

    /// Does nothing if the link has the address.
    pub(crate) async fn add_address(
        &self,
        link: Link,
        address: IpAddr,
    ) -> Result<(), NetworkError> {
        let added = self
            .handle
            .address()
            .add(link.index, address, prefix(address));
        unless(added.execute().await, EEXIST, || {
            format!("cannot add {address} to {LINK}")
        })
    }

    /// Does nothing if there is such a route.
    pub(crate) async fn add_route(&self, link: Link, address: IpAddr) -> Result<(), NetworkError> {
        let route = match address {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, 32)
                .output_interface(link.index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, 128)
                .output_interface(link.index)
                .build(),
        };
        let added = self.handle.route().add(route).execute().await;
        unless(added, EEXIST, || format!("cannot add a route to {address}"))
    }

    /// Returns the interfaces that have the address.
    pub(crate) async fn holders(&self, address: IpAddr) -> Result<Vec<Holder>, NetworkError> {
        let step = || format!("cannot look for {address}");
        let mut found = Vec::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(one) = addresses.try_next().await.map_err(refused(step))? {
            let is_it = one.attributes.iter().any(|attribute| match attribute {
                AddressAttribute::Address(held) | AddressAttribute::Local(held) => *held == address,
                _ => false,
            });
            if is_it {
                found.push(one);
            }
        }
        let mut holders = Vec::new();
        for one in &found {
            let interface = self.name_of(one.header.index).await;
            let removal = removal_of_address(one, &interface);
            holders.push(Holder { interface, removal });
        }
        Ok(holders)
    }

    /// Returns the host routes to `address` in the main table.
    pub(crate) async fn routes(&self, address: IpAddr) -> Result<Vec<Route>, NetworkError> {
        let (any, wanted) = match address {
            IpAddr::V4(v4) => {
                let any = RouteMessageBuilder::<Ipv4Addr>::new().build();
                (any, RouteAddress::Inet(v4))
            }
            IpAddr::V6(v6) => {
                let any = RouteMessageBuilder::<Ipv6Addr>::new().build();
                (any, RouteAddress::Inet6(v6))
            }
        };
        let step = || format!("cannot read the routes to {address}");
        let wanted = RouteAttribute::Destination(wanted);
        let mut messages = self.handle.route().get(any).execute();
        let mut found = Vec::new();
        while let Some(route) = messages.try_next().await.map_err(refused(step))? {
            if route.attributes.contains(&wanted)
                && route.header.destination_prefix_length == prefix(address)
                && route.header.table == MAIN
            {
                found.push(route);
            }
        }
        let mut routes = Vec::new();
        for route in &found {
            routes.push(self.route_of(route, address).await);
        }
        Ok(routes)
    }

    async fn route_of(&self, route: &RouteMessage, address: IpAddr) -> Route {
        let target = match route.header.kind {
            RouteType::Unreachable => Target::Refusing("unreachable"),
            RouteType::BlackHole => Target::Refusing("blackhole"),
            RouteType::Prohibit => Target::Refusing("prohibit"),
            RouteType::Throw => Target::Refusing("throw"),
            _ => Target::Interface(self.name_of(first_interface(route)).await),
        };
        let removal = removal_of_route(route, &target, address);
        Route { target, removal }
    }

    /// Returns the name of an interface, or its number if it is gone.
    async fn name_of(&self, index: u32) -> String {
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.ok().flatten();
        let name = link.and_then(|link| {
            link.attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                })
        });
        name.unwrap_or_else(|| format!("if{index}"))
    }
}

/// Whether [`LINK`] is the name of this link, and not only an alternative one.
pub(crate) fn is_named(link: &LinkMessage) -> bool {
    let mut attributes = link.attributes.iter();
    attributes.any(|attribute| matches!(attribute, LinkAttribute::IfName(name) if name == LINK))
}

/// Returns the command of `ip` that removes this address and no other one. One with a peer is only found by both.
fn removal_of_address(message: &AddressMessage, interface: &str) -> String {
    let (mut peer, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Local(address) => local = Some(*address),
            _ => {}
        }
    }
    let prefix = message.header.prefix_len;
    let held = match (local, peer) {
        (Some(local), Some(peer)) if local != peer => format!("{local} peer {peer}/{prefix}"),
        (Some(address), _) | (None, Some(address)) => format!("{address}/{prefix}"),
        (None, None) => String::new(),
    };
    format!("ip address del {held} dev {interface}")
}

/// Returns the command of `ip` that removes this route: the kernel finds one that uses a nexthop object, or is of a
/// type of service, by that only.
fn removal_of_route(route: &RouteMessage, target: &Target, address: IpAddr) -> String {
    let nexthop = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::NhId(id) => Some(id),
            _ => None,
        });
    let to = format!("{address}/{}", prefix(address));
    let mut removal = match (nexthop, target) {
        (Some(id), _) => format!("ip route del {to} nhid {id}"),
        (None, Target::Interface(interface)) => format!("ip route del {to} dev {interface}"),
        (None, Target::Refusing(kind)) => format!("ip route del {kind} {to}"),
    };
    let tos = route.header.tos;
    if tos != 0 {
        removal.push_str(&format!(" tos {tos:#04x}"));
    }
    removal
}

/// The interface that a route leads to, or the first of those that it spreads packets over, by which the kernel finds it
/// too.
fn first_interface(route: &RouteMessage) -> u32 {
    let index = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
            _ => None,
        });
    index.unwrap_or_default()
}

impl LinkKind {
    pub(crate) fn module(self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
        }
    }
}

/// What netlink did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("netlink cannot be used: {0}")]
    Netlink(#[source] io::Error),
    #[error(
        "{LINK} is an alternative name of another link; remove it: `ip link property del dev {LINK} altname {LINK}`"
    )]
    OtherLink,
    #[error("{step}: {}", explain(error))]
    Refused { step: String, error: Error },
}

/// An object that exists already, or is gone already, is not an error.
fn unless(
    result: Result<(), Error>,
    code: i32,
    step: impl FnOnce() -> String,
) -> Result<(), NetworkError> {
    match result {
        Err(Error::NetlinkError(error)) if error.raw_code() == code => Ok(()),
        other => other.map_err(refused(step)),
    }
}

fn refused(step: impl FnOnce() -> String) -> impl FnOnce(Error) -> NetworkError {
    |error| NetworkError::Refused {
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

/// The agent's addresses have no network around them.
fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// RT_TABLE_MAIN of the kernel.
const MAIN: u8 = 254;

// Netlink's codes are the kernel's error numbers, negated.
const EPERM: i32 = -1;
const EEXIST: i32 = -17;
const ENODEV: i32 = -19;
