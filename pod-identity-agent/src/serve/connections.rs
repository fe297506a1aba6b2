use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::node::addresses::{NODE, NodeAddresses};

/// Limits how many connections are open and how long they may be idle, and closes one to make room for a
/// new one.
///
/// A connection that has not sent a whole request header is cheap to open and cheap to lose: the oldest
/// of those is closed first, so that slow or silent clients cannot keep others out. If there is none, the
/// one that has been idle for longest is closed, of the source that has most connections.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: ConnectionLimits,
    /// Held to change or search the registry, never across an await.
    registry: Mutex<Registry>,
}

/// The largest numbers of open connections.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// From one address.
    pub(crate) per_source: usize,
    /// From the node's own addresses, which host-network pods share.
    pub(crate) per_node_address: usize,
    /// From all addresses.
    pub(crate) total: usize,
    /// Without a whole request header, from one address.
    pub(crate) awaiting_header_per_source: usize,
    /// Without a whole request header, from all addresses.
    pub(crate) awaiting_header: usize,
    pub(crate) node_addresses: NodeAddresses,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            per_source: 256,
            per_node_address: 1024,
            total: 4096,
            awaiting_header_per_source: 128,
            awaiting_header: 512,
            node_addresses: NodeAddresses::default(),
        }
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            registry: Mutex::default(),
        }
    }

    /// Returns a permit for a new connection, which the connection holds while it is open. `None`: there are
    /// too many connections, and none that can be closed.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let source = self.limits.node_addresses.source_of(address);
        let mut registry = self.lock();
        let of_source = registry.by_source.get(&source).copied().unwrap_or_default();
        let most = if source == NODE {
            self.limits.per_node_address
        } else {
            self.limits.per_source
        };
        // One that is told to close counts until it has closed: the limits are exceeded for that moment.
        if of_source >= most
            && registry.close_oldest_of(source).is_none()
            && registry.close_idlest_of(source).is_none()
            || registry.open.len() >= self.limits.total
                && registry.close_oldest().is_none()
                && registry.close_idlest().is_none()
        {
            return None;
        }
        let id = registry.next_id;
        registry.next_id += 1;
        *registry.by_source.entry(source).or_default() += 1;
        let permit = ConnectionPermit {
            connections: Arc::clone(self),
            id,
            source,
            awaiting_header: AtomicBool::new(true),
            state: Arc::default(),
        };
        registry
            .open
            .insert(id, (source, Arc::clone(&permit.state)));
        registry.note_awaiting_header(&permit, &self.limits);
        Some(permit)
    }

    /// Closes connections that have been idle for [`IDLE_TIMEOUT`], until dropped.
    ///
    /// A sweep over all of them, now and then, costs less than a timer per connection that every request
    /// would reset.
    pub(crate) async fn close_idle(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            for (_, state) in self.lock().open.values() {
                if state.note_idle_sweep() > IDLE_SWEEPS {
                    state.closing.notify_one();
                }
            }
        }
    }

    /// Closes the oldest connection without a whole header, or, if there is none, the one that has been idle
    /// for longest.
    pub(crate) fn make_room(&self) {
        let mut registry = self.lock();
        let _one = registry.close_oldest().or_else(|| registry.close_idlest());
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection may be idle for this long, and for up to one sweep more. Longer than the pools of SDKs keep
/// idle connections, so that a client does not send a request into a connection that is being closed, as
/// happens with the official agent's 30 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

const IDLE_SWEEPS: u8 = (IDLE_TIMEOUT.as_millis() / SWEEP_INTERVAL.as_millis()) as u8;

/// The right of one connection to be open, until dropped. Keeps track of what the connection does.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    connections: Arc<Connections>,
    id: u64,
    source: IpAddr,
    /// Whether the registry lists it as without a whole header. Only the connection's own task reads or
    /// writes it, so relaxed access suffices.
    awaiting_header: AtomicBool,
    state: Arc<ConnectionState>,
}

/// What other tasks can see of a connection.
///
/// Its own task writes it for every request, so it has no lock. Each value stands for itself and publishes no
/// other memory, so relaxed access suffices. A connection that is closed by mistake because of a stale read
/// was between two requests, where its client must expect that anyway.
#[derive(Debug, Default)]
struct ConnectionState {
    phase: AtomicU8,
    /// Sweeps that have found it idle since its latest request.
    idle_sweeps: AtomicU8,
    closing: Notify,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It has sent nothing yet, or nothing since its latest answer.
    Idle,
    /// A request header has begun to arrive.
    Header,
    /// A request is being answered.
    Answering,
    /// It was told to close, but a request that arrives before it does is answered.
    Leaving,
}

impl ConnectionState {
    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn note_idle_sweep(&self) -> u8 {
        if !self.is(Phase::Idle) {
            return 0;
        }
        self.idle_sweeps
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    fn idle_sweeps(&self) -> u8 {
        self.idle_sweeps.load(Ordering::Relaxed)
    }

    /// Tells it to close. `None`: a request is being answered, and nothing is changed.
    fn leave(&self) -> Option<()> {
        // One atomic step: a request that begins meanwhile either prevents this or is seen by `closing`.
        let leaving = |phase| (phase != Phase::Answering as u8).then_some(Phase::Leaving as u8);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.phase.fetch_update(set, read, leaving).ok()?;
        self.closing.notify_one();
        Some(())
    }
}

impl ConnectionPermit {
    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.state.is(phase)
    }

    /// Notes that the first byte of a header has arrived.
    pub(crate) fn begin_header(&self) {
        self.state.enter(Phase::Header);
    }

    /// Notes that a header is incomplete. Most arrive in one piece and never get here.
    pub(crate) fn wait_for_header(&self) {
        if !self.awaiting_header.swap(true, Ordering::Relaxed) {
            let connections = &self.connections;
            connections
                .lock()
                .note_awaiting_header(self, &connections.limits);
        }
    }

    /// Notes that a header is complete and its request is being answered.
    pub(crate) fn begin_answer(&self) {
        self.state.enter(Phase::Answering);
        self.state.idle_sweeps.store(0, Ordering::Relaxed);
        if self.awaiting_header.swap(false, Ordering::Relaxed) {
            self.connections
                .lock()
                .forget_awaiting_header(self.id, self.source);
        }
    }

    /// Notes that the response is ready: the next byte begins another header.
    pub(crate) fn end_answer(&self) {
        self.state.enter(Phase::Idle);
    }

    /// Waits until the connection is to be closed: it has been idle for too long, or makes room for another.
    pub(crate) async fn closing(&self) {
        loop {
            self.state.closing.notified().await;
            // A request that arrived meanwhile is answered first.
            if !self.is(Phase::Answering) {
                return;
            }
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut registry = self.connections.lock();
        registry.forget_awaiting_header(self.id, self.source);
        registry.open.remove(&self.id);
        if let Some(count) = registry.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                registry.by_source.remove(&self.source);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    next_id: u64,
    open: HashMap<u64, (IpAddr, Arc<ConnectionState>)>,
    by_source: HashMap<IpAddr, usize>,
    /// Without a whole header, the oldest first: ids ascend.
    awaiting_header: BTreeMap<u64, IpAddr>,
    awaiting_header_by_source: BTreeSet<(IpAddr, u64)>,
}

impl Registry {
    fn note_awaiting_header(&mut self, permit: &ConnectionPermit, limits: &ConnectionLimits) {
        if self.awaiting_header_of(permit.source).count() >= limits.awaiting_header_per_source {
            self.close_oldest_of(permit.source);
        }
        if self.awaiting_header.len() >= limits.awaiting_header {
            self.close_oldest();
        }
        self.awaiting_header.insert(permit.id, permit.source);
        self.awaiting_header_by_source
            .insert((permit.source, permit.id));
    }

    fn forget_awaiting_header(&mut self, id: u64, source: IpAddr) {
        self.awaiting_header.remove(&id);
        self.awaiting_header_by_source.remove(&(source, id));
    }

    fn awaiting_header_of(&self, source: IpAddr) -> impl Iterator<Item = &(IpAddr, u64)> {
        self.awaiting_header_by_source
            .range((source, 0)..=(source, u64::MAX))
    }

    fn close_oldest_of(&mut self, source: IpAddr) -> Option<()> {
        let (_, id) = *self.awaiting_header_of(source).next()?;
        self.close(id)
    }

    fn close_oldest(&mut self) -> Option<()> {
        let (id, _) = self.awaiting_header.first_key_value()?;
        self.close(*id)
    }

    fn close(&mut self, id: u64) -> Option<()> {
        let source = self.awaiting_header.remove(&id)?;
        self.awaiting_header_by_source.remove(&(source, id));
        self.open.get(&id)?.1.leave()
    }

    fn close_idlest_of(&self, source: IpAddr) -> Option<()> {
        self.close_idlest_if(|of| of == source)
    }

    /// Of the source with most connections: a source with few loses none to one with many.
    fn close_idlest(&self) -> Option<()> {
        self.close_idlest_if(|_any| true)
    }

    fn close_idlest_if(&self, may_go: impl Fn(IpAddr) -> bool) -> Option<()> {
        let may_go =
            |source: IpAddr, state: &ConnectionState| state.is(Phase::Idle) && may_go(source);
        let idle = self.open.iter();
        let idle = idle.filter(|(_, (source, state))| may_go(*source, state));
        let (_, (_, state)) = idle.max_by_key(|(id, (source, state))| {
            (
                self.by_source.get(source),
                state.idle_sweeps(),
                Reverse(**id),
            )
        })?;
        state.leave()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(ConnectionLimits {
            per_source: 4,
            per_node_address: 8,
            total: 10,
            awaiting_header_per_source: 2,
            awaiting_header: 5,
            node_addresses: [source(1).into()].into_iter().collect(),
        }))
    }

    async fn is_closing(permit: &ConnectionPermit) -> bool {
        tokio::select! {
            biased;
            () = permit.closing() => true,
            () = std::future::ready(()) => false,
        }
    }

    fn busy(connections: &Arc<Connections>, source: IpAddr) -> Option<ConnectionPermit> {
        let permit = connections.admit(source)?;
        permit.begin_answer();
        Some(permit)
    }

    fn idle(connections: &Arc<Connections>, source: IpAddr) -> ConnectionPermit {
        let permit = busy(connections, source).unwrap();
        permit.end_answer();
        permit
    }

    #[tokio::test]
    async fn of_those_without_a_header_the_oldest_makes_room() {
        let connections = connections();
        let [first, second, third] = [7, 7, 7].map(|last| connections.admit(source(last)).unwrap());
        assert!(is_closing(&first).await);
        assert!(!is_closing(&second).await && !is_closing(&third).await);
        let others = [8, 8, 9, 9].map(|last| connections.admit(source(last)).unwrap());
        assert!(is_closing(&second).await, "the sixth in all");
        assert!(!is_closing(&others[0]).await);
    }

    #[test]
    fn one_address_has_its_share_and_the_nodes_own_a_larger_one() {
        let connections = connections();
        let pods: Vec<_> = (0..9)
            .map_while(|_| busy(&connections, source(7)))
            .collect();
        assert_eq!(pods.len(), 4);
        let node: Vec<_> = (0..9)
            .map_while(|_| busy(&connections, source(1)))
            .collect();
        assert_eq!(node.len(), 6, "until there are ten in all");
        drop(pods);
        assert_eq!(connections.open(), 6);
        assert!(busy(&connections, source(8)).is_some());
    }

    #[tokio::test]
    async fn a_newcomer_gets_in_while_a_silent_one_can_be_closed() {
        let connections = connections();
        let silent = connections.admit(source(7)).unwrap();
        let _busy: Vec<_> = (0..3)
            .map(|_| busy(&connections, source(7)).unwrap())
            .collect();
        assert!(connections.admit(source(7)).is_some());
        assert!(is_closing(&silent).await);
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_silent_the_one_makes_room_that_was_idle_for_longest() {
        let connections = connections();
        let sweeping = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { sweeping.close_idle().await });
        let neighbour = idle(&connections, source(8));
        tokio::time::sleep(Duration::from_secs(30)).await;
        let permits = [7; 4].map(|last| idle(&connections, source(last)));
        tokio::time::sleep(Duration::from_secs(10)).await;
        for recent in [&permits[0], &permits[2], &permits[3]] {
            recent.begin_answer();
            recent.end_answer();
        }
        let newcomer = busy(&connections, source(7)).unwrap();
        assert!(is_closing(&permits[1]).await);
        for stays in [&permits[0], &permits[2], &permits[3], &neighbour] {
            assert!(!is_closing(stays).await);
        }
        drop(newcomer);
    }

    #[tokio::test]
    async fn whoever_has_few_makes_no_room_for_who_has_many() {
        let connections = connections();
        let few = idle(&connections, source(8));
        let many = [1; 8].map(|last| idle(&connections, source(last)));
        let _last = busy(&connections, source(9)).unwrap();
        let _newcomers = [10, 11].map(|last| busy(&connections, source(last)).unwrap());
        assert!(is_closing(&many[0]).await && is_closing(&many[1]).await);
        assert!(!is_closing(&many[2]).await && !is_closing(&few).await);
    }

    #[test]
    fn nobody_is_let_in_while_all_are_answered() {
        let connections = connections();
        let permits: Vec<_> = (0..20)
            .filter_map(|last| busy(&connections, source(last)))
            .collect();
        assert_eq!(permits.len(), 10);
        connections.make_room();
        assert!(connections.admit(source(30)).is_none());
    }

    #[tokio::test]
    async fn a_connection_between_requests_is_not_without_a_header() {
        let connections = connections();
        let idle = idle(&connections, source(7));
        let _silent = [1, 2].map(|_| connections.admit(source(7)).unwrap());
        assert!(!is_closing(&idle).await);
        idle.wait_for_header();
        let _newcomer = [1, 2].map(|_| connections.admit(source(7)));
        assert!(is_closing(&idle).await, "now it is the oldest of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_90_seconds_after_each_request() {
        let connections = connections();
        let sweeping = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { sweeping.close_idle().await });
        let permit = connections.admit(source(7)).unwrap();
        for _request in 0..3 {
            tokio::time::sleep(Duration::from_secs(90)).await;
            assert!(!is_closing(&permit).await);
            permit.begin_answer();
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert!(!is_closing(&permit).await, "an answer may take longer");
            permit.end_answer();
        }
        let ended = tokio::time::Instant::now();
        permit.closing().await;
        let idle = ended.elapsed().as_secs_f64();
        assert!((90.0..=90.6).contains(&idle), "{idle} s");
    }

    #[tokio::test]
    async fn a_request_that_comes_while_its_connection_is_closed_is_answered() {
        let connections = connections();
        let permit = connections.admit(source(7)).unwrap();
        connections.make_room();
        permit.begin_answer();
        assert!(!is_closing(&permit).await);
    }
}
