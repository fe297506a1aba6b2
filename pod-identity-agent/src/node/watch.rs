use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use pod_identity_core::{Endpoint, LogSuppressor};
use prometheus::{IntCounter, IntGauge};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::node::initialize::{make_reachable, warn_of_ipv6};
use crate::node::network::{LINK, Link, LinkKind, Network, NetworkError, is_named};
use crate::node::problem::{Problem, includes, problems};

/// Watches the link, its addresses and the routes, by the kernel's own events, and puts back what goes, as
/// far as this process may.
///
/// What something else holds is not taken away from it. A process without CAP_NET_ADMIN can put nothing
/// back; then the log says so, with the command that does.
///
/// A look costs the more the more routes the node has, and a node with many pods changes many of them. So only an
/// event that may concern the link leads to a look, and there is at most one in a second.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    /// Counts each time that an address was found to be unreachable.
    pub(crate) lost: IntCounter,
    /// 1 while all of them are reachable, as far as that can be seen.
    pub(crate) reachable: IntGauge,
    /// The kind of link that is made when it is gone.
    pub(crate) kind: LinkKind,
    /// The addresses that the agent serves. An address of the link that is not among them is missed by nobody.
    pub(crate) hosts: Vec<IpAddr>,
}

/// Why the link is not watched for now.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("the kernel's events cannot be received: {0}")]
    Events(#[from] io::Error),
    #[error("the kernel's events have ended")]
    Ended,
    #[error("the network of the node cannot be looked at: {0}")]
    Network(#[from] NetworkError),
}

impl LinkWatch {
    /// Watches until dropped. A kernel that sends no events leaves the agent as it is without a watch, and is tried
    /// again.
    pub(crate) async fn run(self) {
        let mut known = Vec::new();
        let mut outage = LogSuppressor::new(LOG_INTERVAL);
        loop {
            let Err(error) = self.follow(&mut known, &mut outage).await;
            self.reachable.set(0);
            if let Some(suppressed) = outage.occurred(Instant::now()) {
                warn!(%error, suppressed, "the link is not watched; that is tried again");
            } else {
                debug!(%error, "the link is still not watched");
            }
            sleep(RETRY).await;
        }
    }

    async fn follow(
        &self,
        known: &mut Vec<Problem>,
        outage: &mut LogSuppressor<Instant>,
    ) -> Result<Infallible, WatchError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, _handle, events) = new_multicast_connection(&groups)?;
        let mut events = events.map(|(event, _address)| event);
        let mut netlink = JoinSet::new();
        netlink.spawn(connection);
        loop {
            let link = self.look(known).await?;
            if outage.recovered() {
                info!("the link is watched again");
            }
            // What could not be put back, perhaps because the link was just going, is tried again.
            let limit = if known.is_empty() {
                Duration::MAX
            } else {
                RETRY
            };
            next_look(&mut events, link, limit).await?;
        }
    }

    /// Returns the link, if it is there.
    async fn look(&self, known: &mut Vec<Problem>) -> Result<Option<Link>, NetworkError> {
        let network = Network::open()?;
        let found = self.problems(&network).await?;
        if found.is_empty() && known.is_empty() {
            self.reachable.set(1);
            return network.link().await;
        }
        let is_changed = found != *known;
        warn_of_new(&found, known);
        if is_loss(&found, known) {
            self.lost.inc();
        }
        if !found.is_empty() {
            let made = make_reachable(self.kind).await;
            // What stays as it is is tried again and again, and said once.
            match made {
                Ok(Some(error)) if is_changed && self.serves_ipv6() => {
                    warn_of_ipv6(&error);
                }
                Err(error) if is_changed => {
                    warn!(%error, "the agent's addresses cannot be put back");
                }
                _ => {}
            }
        }
        known.extend(found);
        let left = self.problems(&network).await?;
        warn_of_new(&left, known);
        self.reachable.set(i64::from(left.is_empty()));
        if left.is_empty() {
            info!(link = LINK, "the agent's addresses are reachable again");
        }
        *known = left;
        network.link().await
    }

    /// What is wrong with the link, and with those of its addresses that the agent serves.
    async fn problems(&self, network: &Network) -> Result<Vec<Problem>, NetworkError> {
        let mut found = problems(network).await?;
        found.retain(|problem| problem.concerns(&self.hosts));
        Ok(found)
    }

    fn serves_ipv6(&self) -> bool {
        let address = Endpoint::EKS_IPV6.into();
        self.hosts.iter().any(|host| includes(*host, address))
    }
}

/// Whether something is lost that was there at the last look. Where the link was not there, neither were its addresses
/// and routes.
fn is_loss(found: &[Problem], known: &[Problem]) -> bool {
    let had_link = !known.contains(&Problem::NoLink);
    let mut new = found.iter().filter(|problem| !known.contains(problem));
    new.any(|problem| had_link || problem.is_conflict())
}

fn warn_of_new(problems: &[Problem], known: &[Problem]) {
    for problem in problems.iter().filter(|problem| !known.contains(problem)) {
        warn!("{problem}");
    }
}

type Event = NetlinkMessage<RouteNetlinkMessage>;

/// Waits, after a look, until it is time for the next one: after an event that may concern the link, or after
/// `limit`. Takes all events meanwhile, because the channel in which they wait is not bounded.
async fn next_look(
    events: &mut (impl Stream<Item = Event> + Unpin),
    link: Option<Link>,
    limit: Duration,
) -> Result<(), WatchError> {
    let looked_at = Instant::now();
    let concerning = async {
        loop {
            let event = events.next().await.ok_or(WatchError::Ended)?;
            if may_concern(&event, link) {
                return Ok::<_, WatchError>(());
            }
        }
    };
    match timeout(limit, concerning).await {
        Ok(found) => found?,
        Err(_elapsed) => return Ok(()),
    }
    // One change sends many events: what removes a link also removes addresses and routes.
    let end = (Instant::now() + BURST).max(looked_at + INTERVAL);
    while Instant::now() < end
        && let Ok(event) = timeout_at(end, events.next()).await
    {
        event.ok_or(WatchError::Ended)?;
    }
    Ok(())
}

/// Whether what has happened may have to do with the link, one of the agent's addresses, or a route to one.
fn may_concern(event: &Event, link: Option<Link>) -> bool {
    let NetlinkPayload::InnerMessage(event) = &event.payload else {
        // Not an event, but perhaps that some were lost.
        return true;
    };
    let is_of_link = |index: u32| link.is_some_and(|link| link.has_index(index));
    match event {
        RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message) => {
            is_of_link(message.header.index) || is_named(message)
        }
        RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message) => {
            is_of_link(message.header.index) || has_address(message)
        }
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            leads_to_address(message)
        }
        _ => false,
    }
}

fn has_address(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Address(address) | AddressAttribute::Local(address) => is_ours(*address),
        _ => false,
    })
}

fn leads_to_address(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => is_ours((*address).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => is_ours((*address).into()),
        _ => false,
    })
}

fn is_ours(address: IpAddr) -> bool {
    address == Endpoint::EKS_IPV4 || address == Endpoint::EKS_IPV6
}

/// Events of one change come within microseconds of each other, later on a busy machine.
const BURST: Duration = Duration::from_millis(100);

/// A node whose link changes all the time is looked at once in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon what could not be put back is tried again if nothing changes, and the watch itself.
const RETRY: Duration = Duration::from_secs(5);

const LOG_INTERVAL: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use futures_util::{FutureExt, stream};
    use rtnetlink::RouteMessageBuilder;
    use rtnetlink::packet_core::NetlinkHeader;
    use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn event(message: RouteNetlinkMessage) -> Event {
        NetlinkMessage::from(message)
    }

    fn link_event(index: u32, name: &str) -> Event {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        event(RouteNetlinkMessage::NewLink(message))
    }

    fn address_event(index: u32, address: IpAddr) -> Event {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Address(address)];
        event(RouteNetlinkMessage::DelAddress(message))
    }

    fn route_event(address: Ipv4Addr, prefix: u8) -> Event {
        let route = RouteMessageBuilder::<Ipv4Addr>::new();
        let route = route.destination_prefix(address, prefix).build();
        event(RouteNetlinkMessage::DelRoute(route))
    }

    const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    #[test]
    fn only_events_of_the_link_its_addresses_and_routes_to_them_lead_to_a_look() {
        let link = Some(Link::with_index(7));
        let overrun = NetlinkPayload::Overrun(Vec::new());
        let overrun = Event::new(NetlinkHeader::default(), overrun);
        let six = RouteMessageBuilder::<Ipv6Addr>::new();
        let six = six.destination_prefix(Endpoint::EKS_IPV6, 128).build();
        for (what, event) in [
            ("its name", link_event(9, LINK)),
            ("its number, under another name", link_event(7, "renamed")),
            ("an address of it", address_event(7, POD.into())),
            (
                "its address elsewhere",
                address_event(9, Endpoint::EKS_IPV4.into()),
            ),
            ("a route", route_event(Endpoint::EKS_IPV4, 32)),
            ("that events were lost", overrun),
            ("a route of IPv6", event(RouteNetlinkMessage::NewRoute(six))),
        ] {
            assert!(may_concern(&event, link), "{what}");
        }
        for (what, event) in [
            ("another link", link_event(9, "eth0")),
            ("an address of another", address_event(9, POD.into())),
            ("a route to a pod", route_event(POD, 32)),
        ] {
            assert!(!may_concern(&event, link), "{what}");
            assert!(!may_concern(&event, None), "{what}");
        }
    }

    #[test]
    fn what_goes_while_something_else_stays_lost_is_a_loss_and_what_comes_back_in_steps_is_none() {
        let [v4, v6] = [Endpoint::EKS_IPV4.into(), Endpoint::EKS_IPV6.into()];
        let no_route = |address| Problem::NoRoute(address);
        let stays = [Problem::NoAddress(v6), no_route(v6)];
        let with = |problem| [&stays[..], &[problem]].concat();
        for problem in [
            Problem::NoLink,
            Problem::LinkDown,
            Problem::NoAddress(v4),
            no_route(v4),
        ] {
            let found = with(problem);
            assert!(is_loss(&found, &stays), "{found:?}");
            assert!(!is_loss(&found, &found) && !is_loss(&stays, &found));
        }
        let conflict = Problem::RouteRefuses {
            address: v4,
            kind: "blackhole",
            removal: String::new(),
        };
        let no_link = [Problem::NoLink];
        assert!(!is_loss(
            &[Problem::LinkDown, Problem::NoAddress(v4)],
            &no_link
        ));
        assert!(is_loss(&[Problem::NoLink, conflict], &no_link));
        assert!(is_loss(&no_link, &[]) && !is_loss(&[], &no_link));
    }

    #[tokio::test(start_paused = true)]
    async fn other_events_are_taken_and_lead_to_no_look() {
        let others = stream::iter((0..100_000).map(|_| route_event(POD, 32)));
        let mut events = others.chain(stream::pending());
        let limit = Duration::from_secs(3600);
        let began = Instant::now();
        next_look(&mut events, None, limit).await.unwrap();
        assert_eq!(began.elapsed(), limit);
        assert!(events.next().now_or_never().is_none(), "none waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_changes_all_the_time_is_looked_at_once_a_second() {
        let mut events = Box::pin(stream::unfold((), |()| async {
            sleep(Duration::from_millis(10)).await;
            Some((link_event(7, LINK), ()))
        }));
        let began = Instant::now();
        for look in 1..=3 {
            next_look(&mut events, None, Duration::MAX).await.unwrap();
            assert_eq!(began.elapsed().as_secs(), look);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_after_a_while_is_looked_at_at_once() {
        let (sent, events) = tokio::sync::mpsc::unbounded_channel();
        let mut events = Box::pin(stream::unfold(events, |mut events| async {
            let event: Option<Event> = events.recv().await;
            event.map(|event| (event, events))
        }));
        let changes = async {
            sleep(Duration::from_secs(60)).await;
            sent.send(link_event(7, LINK)).unwrap();
        };
        let began = Instant::now();
        let (looked, ()) =
            futures_util::join!(next_look(&mut events, None, Duration::MAX), changes);
        looked.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(60) + BURST);
        drop(sent);
        let ended = next_look(&mut events, None, Duration::MAX).await;
        assert!(matches!(ended, Err(WatchError::Ended)));
    }
}
