use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use prometheus::{IntCounter, IntGauge};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::node::initialize::make_reachable;
use crate::node::network::{LINK, LinkKind, Network};
use crate::node::problem::{Problem, problems};

/// Watches the link, its addresses and the routes, by the kernel's own events, and puts back what goes, as
/// far as this process may.
///
/// What something else holds is not taken away from it. A process without CAP_NET_ADMIN can put nothing
/// back; then the log says so, with the command that does.
#[derive(Debug)]
pub(crate) struct LinkWatch {
    /// Counts each time that an address was found to be unreachable.
    pub(crate) lost: IntCounter,
    /// 1 while all of them are reachable.
    pub(crate) reachable: IntGauge,
    /// The kind of link that is made when it is gone.
    pub(crate) kind: LinkKind,
}

impl LinkWatch {
    /// Watches until dropped. A kernel that sends no events leaves the agent as it is without a watch.
    pub(crate) async fn run(self) {
        if let Err(error) = self.follow().await {
            warn!(%error, "the link is not watched any more");
        }
        std::future::pending().await
    }

    async fn follow(&self) -> io::Result<()> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, _handle, mut events) = new_multicast_connection(&groups)?;
        let mut netlink = JoinSet::new();
        netlink.spawn(connection);
        let mut known = Vec::new();
        loop {
            self.look(&mut known).await;
            // What could not be put back, perhaps because the link was just going, is tried again.
            let limit = if known.is_empty() {
                Duration::MAX
            } else {
                RETRY
            };
            match tokio::time::timeout(limit, events.next()).await {
                Ok(Some(_event)) => {}
                Ok(None) => return Err(io::Error::other("the kernel's events have ended")),
                Err(_elapsed) => continue,
            }
            // One change sends many events: what removes a link also removes addresses and routes.
            for _event in 0..LONGEST_BURST {
                if tokio::time::timeout(BURST, events.next()).await.is_err() {
                    break;
                }
            }
        }
    }

    async fn look(&self, known: &mut Vec<Problem>) {
        let Some(found) = problems_now().await else {
            return;
        };
        if found.is_empty() && known.is_empty() {
            self.reachable.set(1);
            return;
        }
        let is_changed = found != *known;
        warn_of_new(&found, known);
        if known.is_empty() {
            self.lost.inc();
        }
        if !found.is_empty()
            && let Err(error) = make_reachable(self.kind).await
            && is_changed
        {
            warn!(%error, "the agent's addresses cannot be put back");
        }
        known.extend(found);
        let Some(left) = problems_now().await else {
            return;
        };
        warn_of_new(&left, known);
        self.reachable.set(i64::from(left.is_empty()));
        if left.is_empty() {
            info!(link = LINK, "the agent's addresses are reachable again");
        }
        *known = left;
    }
}

fn warn_of_new(problems: &[Problem], known: &[Problem]) {
    for problem in problems.iter().filter(|problem| !known.contains(problem)) {
        warn!("{problem}");
    }
}

/// What is wrong; `None` if that cannot be seen.
async fn problems_now() -> Option<Vec<Problem>> {
    let found = async { problems(&Network::open()?).await }.await;
    found
        .inspect_err(|error| warn!(%error, "the network of the node cannot be looked at"))
        .ok()
}

/// Events of one change come within microseconds of each other, later on a busy machine.
const BURST: Duration = Duration::from_millis(100);

/// How soon what could not be put back is tried again if nothing changes.
const RETRY: Duration = Duration::from_secs(5);

/// A node whose network changes all the time is looked at all the same.
const LONGEST_BURST: usize = 100;
