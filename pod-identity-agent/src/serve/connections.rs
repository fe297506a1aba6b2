use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque, btree_set};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

use crate::serve::connection_limits::ConnectionLimits;
use crate::serve::connection_state::{ConnectionState, Phase};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Limits how many connections are open and how long they may be idle, and closes one to make room for a
/// new one.
///
/// Only a connection that does not have a request under way makes room: one that has sent nothing for
/// half a second, the oldest first, or else the one that has been idle for longest, of the source that has most
/// connections. A new connection beyond the limit of its source waits for up to [`QUEUE_TIMEOUT`] until one
/// of them closes, so that a crowd of clients at one address is served although it connects at once. After
/// that its request is answered with 503.
///
/// Request headers that arrive in pieces are the exception: they occupy memory, so their number has a
/// limit that is enforced at once, and the oldest is closed.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: ConnectionLimits,
    /// Held to change or search the registry, never across an await. It is the only lock here: a permit
    /// must not be dropped under it, because dropping takes it too.
    registry: Mutex<Registry>,
    /// One for each connection that may have buffers. Those that come first are first.
    buffers: Semaphore,
}

/// How long a request waits for buffers. Most SDKs give up after one or two seconds, and the answer may take one.
const BUFFERS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a new connection waits for room. Most SDKs give up after one or two seconds.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it looks for a connection that has become old enough to make room.
const QUEUE_INTERVAL: Duration = Duration::from_millis(100);

/// New connections of a source that wait for room: as many times its limit. A bound on descriptors.
const QUEUE_FACTOR: usize = 3;

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            buffers: Semaphore::new(limits.buffered),
            limits,
            registry: Mutex::default(),
        }
    }

    /// Decides about a new connection.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Admission {
        let source = self.limits.node_addresses.source_of(address);
        let now = Instant::now();
        let limit = self.limits.of(source);
        let mut registry = self.lock();
        let Count {
            open,
            waiting,
            queued,
        } = registry.count(source);
        let is_full = registry.open + registry.queued >= self.limits.total;
        if registry.open + registry.queued >= self.limits.with_leaving() {
            return Admission::Rejected;
        }
        // One that is told to close counts until it has closed: the limits are exceeded a little for that moment.
        let has_room = if waiting > 0 {
            false
        } else if open >= limit {
            registry.make_room_in(source, now).is_some()
        } else {
            !is_full
                || registry.close_old_silent(now).is_some()
                || registry.close_idlest(now).is_some()
                || registry.reject_queued().is_some()
                || registry.close_silent().is_some()
        };
        if has_room {
            return Admission::Admitted(registry.permit(self, source, now));
        }
        if is_full || queued >= limit * QUEUE_FACTOR {
            return Admission::Rejected;
        }
        Admission::Queued(Queued {
            connections: Arc::clone(self),
            source,
            turn: registry.enqueue(source),
        })
    }

    /// Closes connections that have been idle for [`IDLE_TIMEOUT`], and those that have sent nothing for
    /// half a second where there are too many of them. Runs until dropped.
    ///
    /// A sweep over all of them, now and then, costs less than a timer per connection that every request
    /// would reset.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.lock().sweep(Instant::now(), &self.limits);
        }
    }

    /// Closes a connection that has sent nothing for half a second, or, if there is none, the one that has been
    /// idle for longest. Never one that has just been opened.
    pub(crate) fn make_room(&self) {
        let (mut registry, now) = (self.lock(), Instant::now());
        let _closing = registry
            .close_old_silent(now)
            .or_else(|| registry.close_idlest(now));
    }

    /// The most connections that may be open.
    pub(crate) fn limit(&self) -> usize {
        self.limits.total
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    /// The number of connections that wait for room, with those that are told that there was none.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Whether nothing is left of any connection, or what is.
    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> Result<(), String> {
        let registry = self.lock();
        let Registry {
            next_id: _,
            open,
            sources,
            by_size,
            no_idle: _,
            queued,
            silent,
            partial,
        } = &*registry;
        let buffers = self.buffers.available_permits();
        let is_unused = (*open, *queued) == (0, 0)
            && sources.is_empty()
            && by_size.is_empty()
            && silent.by_id.is_empty()
            && silent.by_source.is_empty()
            && partial.by_id.is_empty()
            && partial.by_source.is_empty()
            && buffers == self.limits.buffered;
        match is_unused {
            true => Ok(()),
            false => Err(format!("{registry:?}, {buffers} buffers are free")),
        }
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

/// What becomes of a new connection.
#[derive(Debug)]
pub(crate) enum Admission {
    Admitted(ConnectionPermit),
    /// Its source has too many; it may get the permit of one that closes.
    Queued(Queued),
    /// There are too many connections, and none that can be closed.
    Rejected,
}

impl Admission {
    /// Waits for the permit.
    pub(crate) async fn permit(self) -> Result<ConnectionPermit, NoPermit> {
        match self {
            Self::Admitted(permit) => Ok(permit),
            Self::Queued(mut queued) => match timeout(QUEUE_TIMEOUT, queued.turn()).await {
                Ok(turn) => turn.ok_or(NoPermit::Displaced),
                Err(_elapsed) => queued.give_up(),
            },
            Self::Rejected => Err(NoPermit::Displaced),
        }
    }
}

/// Why a connection gets no permit.
#[derive(Debug)]
pub(crate) enum NoPermit {
    /// It is to be closed at once: others need the room.
    Displaced,
    /// It has waited for [`QUEUE_TIMEOUT`]. It counts as waiting until this is dropped.
    TimedOut(Queued),
}

/// A place in the queue of a source.
#[derive(Debug)]
pub(crate) struct Queued {
    connections: Arc<Connections>,
    source: IpAddr,
    turn: oneshot::Receiver<ConnectionPermit>,
}

impl Queued {
    async fn turn(&mut self) -> Option<ConnectionPermit> {
        loop {
            if let Ok(turn) = timeout(QUEUE_INTERVAL, &mut self.turn).await {
                return turn.ok();
            }
            let mut registry = self.connections.lock();
            registry.make_room_in(self.source, Instant::now());
        }
    }

    /// Leaves the queue, unless the permit has come meanwhile.
    fn give_up(mut self) -> Result<ConnectionPermit, NoPermit> {
        self.turn.close();
        if let Ok(permit) = self.turn.try_recv() {
            return Ok(permit);
        }
        self.connections.lock().shorten_queue(self.source);
        Err(NoPermit::TimedOut(self))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // First, because a permit that has been sent meanwhile takes the lock when it is dropped.
        self.turn.close();
        let mut registry = self.connections.lock();
        registry.queued = registry.queued.saturating_sub(1);
        if let Some(of_source) = registry.sources.get_mut(&self.source) {
            of_source.queued = of_source.queued.saturating_sub(1);
        }
        registry.shorten_queue(self.source);
    }
}

/// The right of one connection to be open, until dropped. Keeps track of what the connection does.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    connections: Arc<Connections>,
    id: u64,
    source: IpAddr,
    /// Whether the registry may list it as silent or with an incomplete header. Only the connection's own
    /// task reads or writes it, so relaxed access suffices.
    is_listed: AtomicBool,
    state: Arc<ConnectionState>,
}

impl ConnectionPermit {
    /// What the connection is doing.
    pub(crate) fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// The right to have buffers, if another connection may.
    pub(crate) fn free_buffers(&self) -> Option<SemaphorePermit<'_>> {
        self.connections.buffers.try_acquire().ok()
    }

    /// Waits until the connection may have buffers, and lets idle ones close that have some. `None`: there were
    /// none in time.
    pub(crate) async fn wait_for_buffers(&self) -> Option<SemaphorePermit<'_>> {
        let connections = &*self.connections;
        // Kept over all rounds, and with it the place in the semaphore's queue.
        let mut acquire = pin!(connections.buffers.acquire());
        let acquired = async {
            loop {
                connections.lock().close_idlest(Instant::now());
                if let Ok(acquired) = timeout(QUEUE_INTERVAL, &mut acquire).await {
                    return acquired.ok();
                }
            }
        };
        timeout(BUFFERS_TIMEOUT, acquired).await.ok()?
    }

    /// Notes that the response is ready. `true`: it is the last one of this connection.
    pub(crate) fn end_answer(&self) -> bool {
        // An idle connection keeps its buffers, so there must be some for others.
        self.state.end_answer() || !self.has_free_buffers()
    }

    /// Whether others wait for the place of this connection, or would have to.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state.is_crowded() || !self.has_free_buffers()
    }

    fn has_free_buffers(&self) -> bool {
        self.connections.buffers.available_permits() > 0
    }

    /// Notes that the first byte of a header has arrived.
    pub(crate) fn begin_header(&self) {
        self.state.enter(Phase::Header);
        self.unlist();
    }

    /// Notes that a header is incomplete. Most arrive in one piece and never get here.
    pub(crate) fn wait_for_header(&self) {
        if !self.is_listed.swap(true, Ordering::Relaxed) {
            let connections = &self.connections;
            connections.lock().list_partial(self, &connections.limits);
        }
    }

    /// Notes that a header is complete and its request is being answered.
    pub(crate) fn begin_answer(&self) {
        self.state.begin_answer();
        self.unlist();
    }

    fn unlist(&self) {
        if self.is_listed.swap(false, Ordering::Relaxed) {
            self.connections.lock().unlist(self.id, self.source);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let next = {
            let mut registry = self.connections.lock();
            registry.remove(self.id, self.source);
            registry.next_in_queue(&self.connections, self.source)
        };
        // Outside the lock: the permit is dropped here if its receiver has given up meanwhile.
        if let Some((turn, permit)) = next {
            let _given_up = turn.send(permit);
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    next_id: u64,
    /// Of all sources.
    open: usize,
    sources: HashMap<IpAddr, Source>,
    /// The sources by their number of connections.
    by_size: BTreeSet<(usize, IpAddr)>,
    no_idle: Recently,
    /// In the queues of all sources, and those that have left one to be told so.
    queued: usize,
    silent: List,
    /// With an incomplete header.
    partial: List,
}

/// The connections of one source.
#[derive(Debug, Default)]
struct Source {
    open: HashMap<u64, Arc<ConnectionState>>,
    no_idle: Recently,
    /// Those that wait for room, the oldest first.
    queue: VecDeque<oneshot::Sender<ConnectionPermit>>,
    /// In the queue, and those that have left it to be told so.
    queued: usize,
    is_crowded: Arc<AtomicBool>,
}

/// The connections of one source, in numbers.
#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// For room.
    waiting: usize,
    /// With those that have left the queue to be told so.
    queued: usize,
}

/// Some of the connections, the oldest first: ids ascend.
#[derive(Debug, Default)]
struct List {
    by_id: BTreeMap<u64, IpAddr>,
    by_source: BTreeSet<(IpAddr, u64)>,
}

impl List {
    fn insert(&mut self, id: u64, source: IpAddr) {
        self.by_id.insert(id, source);
        self.by_source.insert((source, id));
    }

    fn remove(&mut self, id: u64, source: IpAddr) {
        self.by_id.remove(&id);
        self.by_source.remove(&(source, id));
    }

    fn len(&self) -> usize {
        self.by_id.len()
    }

    fn oldest(&self) -> Option<(u64, IpAddr)> {
        self.by_id.first_key_value().map(|(id, of)| (*id, *of))
    }

    fn oldest_of(&self, source: IpAddr) -> Option<(u64, IpAddr)> {
        self.of(source).next().map(|(source, id)| (*id, *source))
    }

    fn count_of(&self, source: IpAddr) -> usize {
        self.of(source).count()
    }

    fn of(&self, source: IpAddr) -> btree_set::Range<'_, (IpAddr, u64)> {
        self.by_source.range((source, 0)..=(source, u64::MAX))
    }
}

impl Registry {
    fn count(&self, source: IpAddr) -> Count {
        let of_source = self.sources.get(&source);
        of_source.map_or(Count::default(), |source| Count {
            open: source.open.len(),
            waiting: source.queue.len(),
            queued: source.queued,
        })
    }

    fn permit(
        &mut self,
        connections: &Arc<Connections>,
        source: IpAddr,
        now: Instant,
    ) -> ConnectionPermit {
        let id = self.next_id;
        self.next_id += 1;
        let of_source = self.sources.entry(source).or_default();
        let is_crowded = Arc::clone(&of_source.is_crowded);
        let state = Arc::new(ConnectionState::new(now, is_crowded));
        of_source.open.insert(id, Arc::clone(&state));
        let size = of_source.open.len();
        self.by_size.remove(&(size - 1, source));
        self.by_size.insert((size, source));
        self.open += 1;
        self.silent.insert(id, source);
        ConnectionPermit {
            connections: Arc::clone(connections),
            id,
            source,
            is_listed: AtomicBool::new(true),
            state,
        }
    }

    fn enqueue(&mut self, source: IpAddr) -> oneshot::Receiver<ConnectionPermit> {
        let (sender, turn) = oneshot::channel();
        let of_source = self.sources.entry(source).or_default();
        of_source.queue.push_back(sender);
        of_source.queued += 1;
        of_source.is_crowded.store(true, Ordering::Relaxed);
        self.queued += 1;
        turn
    }

    /// Rejects the last in the longest queue: a source with many connections keeps out none with few.
    fn reject_queued(&mut self) -> Option<()> {
        // Of equally long ones, always the same, so that a simulated schedule can be repeated.
        let sources = self.sources.iter_mut();
        let (_, longest) = sources.max_by_key(|(source, of)| (of.queue.len(), **source))?;
        longest.queue.pop_back().map(drop)
    }

    /// Forgets those in the queue of a source that have given up or got their permit.
    fn shorten_queue(&mut self, source: IpAddr) {
        if let Some(of_source) = self.sources.get_mut(&source) {
            of_source.queue.retain(|turn| !turn.is_closed());
        }
        self.forget_unused(source);
    }

    fn forget_unused(&mut self, source: IpAddr) {
        if let Some(of_source) = self.sources.get(&source)
            && of_source.queue.is_empty()
        {
            of_source.is_crowded.store(false, Ordering::Relaxed);
            if of_source.open.is_empty() && of_source.queued == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn remove(&mut self, id: u64, source: IpAddr) {
        self.unlist(id, source);
        if let Some(of_source) = self.sources.get_mut(&source)
            && of_source.open.remove(&id).is_some()
        {
            let size = of_source.open.len();
            self.by_size.remove(&(size + 1, source));
            if size > 0 {
                self.by_size.insert((size, source));
            }
            self.open -= 1;
        }
    }

    /// A permit for the next connection in the queue of a source that has room again.
    fn next_in_queue(
        &mut self,
        connections: &Arc<Connections>,
        source: IpAddr,
    ) -> Option<(oneshot::Sender<ConnectionPermit>, ConnectionPermit)> {
        let of_source = self.sources.get_mut(&source)?;
        if of_source.open.len() < connections.limits.of(source) {
            while let Some(turn) = of_source.queue.pop_front() {
                if !turn.is_closed() {
                    return Some((turn, self.permit(connections, source, Instant::now())));
                }
            }
        }
        self.forget_unused(source);
        None
    }

    fn list_partial(&mut self, permit: &ConnectionPermit, limits: &ConnectionLimits) {
        let of_source = self.partial.count_of(permit.source);
        if of_source >= limits.awaiting_header_per_source
            && let Some((oldest, source)) = self.partial.oldest_of(permit.source)
        {
            self.cut(oldest, source);
        }
        if self.partial.len() >= limits.awaiting_header
            && let Some((oldest, source)) = self.partial.oldest()
        {
            self.cut(oldest, source);
        }
        self.partial.insert(permit.id, permit.source);
    }

    fn unlist(&mut self, id: u64, source: IpAddr) {
        self.silent.remove(id, source);
        self.partial.remove(id, source);
    }

    fn sweep(&mut self, now: Instant, limits: &ConnectionLimits) {
        for state in self.sources.values().flat_map(|of| of.open.values()) {
            if state.note_idle_sweep() > IDLE_SWEEPS {
                state.expire();
            }
        }
        self.close_excess_silent(now, limits);
    }

    fn close_excess_silent(&mut self, now: Instant, limits: &ConnectionLimits) {
        let mut silent: HashMap<IpAddr, usize> = HashMap::new();
        for source in self.silent.by_id.values() {
            *silent.entry(*source).or_default() += 1;
        }
        for (source, count) in silent {
            for _excess in limits.awaiting_header_per_source..count {
                if self.close_old_silent_of(source, now).is_none() {
                    break;
                }
            }
        }
        while self.silent.len() > limits.awaiting_header && self.close_old_silent(now).is_some() {}
    }

    fn close_old_silent(&mut self, now: Instant) -> Option<()> {
        let (id, source) = self.silent.oldest()?;
        self.close_if_old(id, source, now)
    }

    fn close_old_silent_of(&mut self, source: IpAddr, now: Instant) -> Option<()> {
        let (id, source) = self.silent.oldest_of(source)?;
        self.close_if_old(id, source, now)
    }

    fn close_if_old(&mut self, id: u64, source: IpAddr, now: Instant) -> Option<()> {
        if !self.state(id, source)?.is_older_than_grace(now) {
            return None;
        }
        self.close(id, source)
    }

    fn make_room_in(&mut self, source: IpAddr, now: Instant) -> Option<()> {
        self.close_old_silent_of(source, now)
            .or_else(|| self.close_idlest_of(source, now))
    }

    /// However young it is. One whose request waits in the socket is answered first.
    fn close_silent(&mut self) -> Option<()> {
        let (id, source) = self.silent.oldest()?;
        self.close(id, source)
    }

    fn close(&mut self, id: u64, source: IpAddr) -> Option<()> {
        self.unlist(id, source);
        self.state(id, source)?.leave();
        Some(())
    }

    fn cut(&mut self, id: u64, source: IpAddr) {
        self.unlist(id, source);
        if let Some(state) = self.state(id, source) {
            state.cut();
        }
    }

    fn state(&self, id: u64, source: IpAddr) -> Option<&ConnectionState> {
        self.sources.get(&source)?.open.get(&id).map(Arc::as_ref)
    }

    fn close_idlest_of(&mut self, source: IpAddr, now: Instant) -> Option<()> {
        self.sources.get_mut(&source)?.close_idlest(now)
    }

    /// Of the source with most connections: a source with few loses none to one with many.
    fn close_idlest(&mut self, now: Instant) -> Option<()> {
        if self.no_idle.is_known(now) {
            return None;
        }
        let mut largest_first = self.by_size.iter().rev();
        let closed =
            largest_first.find_map(|(_, source)| self.sources.get_mut(source)?.close_idlest(now));
        if closed.is_none() {
            self.no_idle.note(now);
        }
        closed
    }
}

impl Source {
    fn close_idlest(&mut self, now: Instant) -> Option<()> {
        if self.no_idle.is_known(now) {
            return None;
        }
        let idle = self.open.iter().filter(|(_, state)| state.can_make_room());
        let idlest = idle.max_by_key(|(id, state)| (state.idle_sweeps(), Reverse(**id)));
        match idlest {
            Some((_, state)) => {
                state.leave();
                Some(())
            }
            None => {
                self.no_idle.note(now);
                None
            }
        }
    }
}

/// That something was not found, which is not looked for again at once: it takes a look at every connection,
/// and whoever floods the agent decides how often.
#[derive(Debug, Default)]
struct Recently(Option<Instant>);

impl Recently {
    fn note(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    fn is_known(&self, now: Instant) -> bool {
        self.0.is_some_and(|noted| now < noted + NOT_AGAIN)
    }
}

/// Short beside the time that a newcomer waits for room.
const NOT_AGAIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::JoinSet;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::serve::connection_state::GRACE;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(ConnectionLimits {
            per_source: 4,
            per_node_address: 8,
            total: 10,
            buffered: 10,
            awaiting_header_per_source: 2,
            awaiting_header: 5,
            node_addresses: [source(1).into()].into_iter().collect(),
        }))
    }

    /// Swept until dropped.
    fn swept(connections: &Arc<Connections>) -> JoinSet<()> {
        let connections = Arc::clone(connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { connections.sweep().await });
        tasks
    }

    fn is_closing(permit: &ConnectionPermit) -> bool {
        permit.state().closing().now_or_never().is_some()
    }

    /// A permit that there is at once.
    fn admit(connections: &Arc<Connections>, source: IpAddr) -> Option<ConnectionPermit> {
        match connections.admit(source) {
            Admission::Admitted(permit) => Some(permit),
            _ => None,
        }
    }

    fn busy(connections: &Arc<Connections>, source: IpAddr) -> Option<ConnectionPermit> {
        let permit = admit(connections, source)?;
        permit.begin_answer();
        Some(permit)
    }

    fn idle(connections: &Arc<Connections>, source: IpAddr) -> ConnectionPermit {
        let permit = busy(connections, source).unwrap();
        permit.state().end_answer();
        permit
    }

    /// With an incomplete header.
    fn partial(connections: &Arc<Connections>, source: IpAddr) -> ConnectionPermit {
        let permit = admit(connections, source).unwrap();
        permit.begin_header();
        permit.wait_for_header();
        permit
    }

    #[tokio::test(start_paused = true)]
    async fn above_the_limit_the_oldest_silent_connections_are_closed_after_their_grace_period() {
        let connections = connections();
        let _sweeping = swept(&connections);
        let of_seven = [7; 3].map(|last| admit(&connections, source(last)).unwrap());
        let of_others = [8, 8, 9, 9].map(|last| admit(&connections, source(last)).unwrap());
        sleep(GRACE / 2).await;
        assert!(!of_seven.iter().chain(&of_others).any(is_closing), "young");
        sleep(GRACE).await;
        assert!(is_closing(&of_seven[0]), "the third of its source");
        assert!(is_closing(&of_seven[1]), "the sixth in all");
        assert!(!is_closing(&of_seven[2]) && !of_others.iter().any(is_closing));
    }

    #[test]
    fn above_the_limit_the_connection_with_the_oldest_incomplete_header_is_closed() {
        let connections = connections();
        let of_seven = [7; 3].map(|last| partial(&connections, source(last)));
        assert!(is_closing(&of_seven[0]), "the third of its source");
        let _others = [8, 8, 9].map(|last| partial(&connections, source(last)));
        assert!(!is_closing(&of_seven[1]));
        let _sixth = partial(&connections, source(9));
        assert!(is_closing(&of_seven[1]), "the sixth in all");
    }

    #[test]
    fn a_source_has_a_limit_and_the_node_has_a_larger_one() {
        let connections = connections();
        let of = |last| {
            let permits = (0..9).map_while(|_| busy(&connections, source(last)));
            permits.collect::<Vec<_>>()
        };
        let pods = of(7);
        assert_eq!(pods.len(), 4);
        assert_eq!(of(1).len(), 6, "until there are ten in all");
        drop(pods);
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_replaces_one_that_stayed_silent() {
        let connections = connections();
        let silent = admit(&connections, source(7)).unwrap();
        let _busy = [7; 3].map(|last| busy(&connections, source(last)).unwrap());
        advance(GRACE).await;
        assert!(admit(&connections, source(7)).is_some());
        assert!(is_closing(&silent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_above_the_limit_of_its_source_is_accepted_when_another_closes() {
        let connections = connections();
        let mut busy: Vec<_> = [7; 4]
            .map(|last| busy(&connections, source(last)).unwrap())
            .into();
        let [first, second] = [7; 2].map(|last| connections.admit(source(last)).permit());
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(busy[0].state().end_answer(), "closed after its response");
        busy.pop();
        let first = first.await.unwrap();
        assert!(second.as_mut().now_or_never().is_none(), "one at a time");
        drop(first);
        drop(second.await.unwrap());
        assert!(!busy[0].state().end_answer(), "there is room again");
        assert_eq!(connections.lock().queued, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_finds_no_room_within_two_seconds_is_rejected() {
        let connections = connections();
        let busy = [7; 4].map(|last| busy(&connections, source(last)).unwrap());
        let began = Instant::now();
        assert!(connections.admit(source(7)).permit().await.is_err());
        assert_eq!(began.elapsed(), QUEUE_TIMEOUT);
        assert_eq!(connections.lock().queued, 0);
        drop(busy);
        assert_eq!(connections.open(), 0);
        assert!(connections.lock().sources.is_empty());
    }

    #[test]
    fn connections_that_are_told_to_close_and_do_not_are_bounded() {
        let connections = connections();
        let silent = (0..200).map_while(|last| admit(&connections, source(last + 2)));
        let silent: Vec<_> = silent.collect();
        assert_eq!(silent.len(), 10 + 128, "and not as many as come");
        drop(silent);
        assert!(admit(&connections, source(7)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_told_that_there_was_no_room_count_for_their_source() {
        let limits = ConnectionLimits {
            total: 100,
            ..connections().limits.clone()
        };
        let connections = Arc::new(Connections::new(limits));
        let busy: Vec<_> = (0..4).map(|_| busy(&connections, source(7))).collect();
        let mut waiting = JoinSet::new();
        for _connection in 0..4 * QUEUE_FACTOR {
            waiting.spawn(connections.admit(source(7)).permit());
        }
        let told = waiting.join_all().await;
        let another = || connections.admit(source(7));
        assert!(matches!(another(), Admission::Rejected));
        assert!(admit(&connections, source(8)).is_some());
        drop(told);
        assert!(matches!(another(), Admission::Queued(_)));
        drop(busy);
        assert_eq!(connections.lock().sources.len(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn connections_that_wait_for_room_do_not_block_other_sources() {
        let connections = connections();
        let _busy = [7; 4].map(|last| busy(&connections, source(last)).unwrap());
        let mut queued = [7; 6].map(|last| Box::pin(connections.admit(source(last)).permit()));
        for queued in &mut queued {
            assert!(queued.as_mut().now_or_never().is_none());
        }
        assert!(admit(&connections, source(8)).is_some());
        let [.., last] = &mut queued;
        assert!(last.as_mut().now_or_never().unwrap().is_err(), "the last");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_makes_room_for_a_waiting_one() {
        let connections = connections();
        let mut silent: Vec<_> = [7; 4]
            .map(|last| admit(&connections, source(last)).unwrap())
            .into();
        let began = Instant::now();
        let waiting = connections.admit(source(7)).permit();
        let closing = async move {
            silent[0].state().closing().await;
            silent.remove(0);
            silent
        };
        let (admitted, _silent) = tokio::join!(waiting, closing);
        assert!(admitted.is_ok());
        assert_eq!(began.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn without_silent_connections_the_longest_idle_one_makes_room() {
        let connections = connections();
        let _sweeping = swept(&connections);
        let neighbour = idle(&connections, source(8));
        sleep(Duration::from_secs(30)).await;
        let permits = [7; 4].map(|last| idle(&connections, source(last)));
        sleep(Duration::from_secs(10)).await;
        for recent in [&permits[0], &permits[2], &permits[3]] {
            recent.begin_answer();
            recent.state().end_answer();
        }
        let newcomer = busy(&connections, source(7)).unwrap();
        assert!(is_closing(&permits[1]));
        for stays in [&permits[0], &permits[2], &permits[3], &neighbour] {
            assert!(!is_closing(stays));
        }
        drop(newcomer);
    }

    #[test]
    fn a_source_with_few_connections_makes_no_room_for_one_with_many() {
        let connections = connections();
        let few = idle(&connections, source(8));
        let many = [1; 8].map(|last| idle(&connections, source(last)));
        let _last = busy(&connections, source(9)).unwrap();
        let _newcomers = [10, 11].map(|last| busy(&connections, source(last)).unwrap());
        assert!(is_closing(&many[0]) && is_closing(&many[1]));
        assert!(!is_closing(&many[2]) && !is_closing(&few));
    }

    #[test]
    fn no_connection_is_accepted_while_all_others_are_being_answered() {
        let connections = connections();
        let permits: Vec<_> = (0..20)
            .filter_map(|last| busy(&connections, source(last)))
            .collect();
        assert_eq!(permits.len(), 10);
        connections.make_room();
        assert!(admit(&connections, source(30)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_connection_is_never_closed_to_make_room() {
        let connections = connections();
        let newcomer = admit(&connections, source(7)).unwrap();
        connections.make_room();
        assert!(!is_closing(&newcomer));
        advance(GRACE).await;
        connections.make_room();
        assert!(is_closing(&newcomer));
    }

    #[test]
    fn a_connection_between_requests_does_not_count_as_awaiting_a_header() {
        let connections = connections();
        let idle = idle(&connections, source(7));
        let _partial = [1, 2].map(|_| partial(&connections, source(7)));
        assert!(!is_closing(&idle));
        idle.wait_for_header();
        let _newcomer = partial(&connections, source(7));
        assert!(is_closing(&idle), "now it is the oldest of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_90_seconds_after_each_request() {
        let connections = connections();
        let _sweeping = swept(&connections);
        let permit = admit(&connections, source(7)).unwrap();
        for _request in 0..3 {
            sleep(Duration::from_secs(90)).await;
            assert!(!is_closing(&permit));
            permit.begin_answer();
            sleep(Duration::from_secs(300)).await;
            assert!(!is_closing(&permit), "an answer may take longer");
            permit.state().end_answer();
        }
        let ended = Instant::now();
        permit.state().closing().await;
        let idle = ended.elapsed().as_secs_f64();
        assert!((90.0..=90.6).contains(&idle), "{idle} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_arrives_while_its_connection_is_being_closed_is_answered() {
        let connections = connections();
        let permit = admit(&connections, source(7)).unwrap();
        advance(GRACE).await;
        connections.make_room();
        permit.begin_answer();
        assert!(!is_closing(&permit));
        assert!(permit.state().end_answer(), "it leaves after its response");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_come_while_their_connections_are_told_to_leave_do_not_raise_the_limit() {
        let connections = connections();
        let mut open: Vec<_> = [7; 4].map(|last| idle(&connections, source(last))).into();
        for _newcomer in 0..20 {
            let newcomer = busy(&connections, source(7));
            for permit in &open {
                permit.begin_answer();
            }
            // Whoever was told to leave does so after its response, and the others stay.
            open.retain(|permit| !permit.state().end_answer());
            open.extend(newcomer.inspect(|permit| {
                permit.state().end_answer();
            }));
            assert!(open.len() <= 4, "{}", open.len());
        }
        assert_eq!(open.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_idle_the_connections_are_not_looked_at_for_each_newcomer() {
        let connections = connections();
        let busy = [7; 4].map(|last| busy(&connections, source(last)).unwrap());
        assert!(admit(&connections, source(7)).is_none());
        busy[0].state().end_answer();
        assert!(
            admit(&connections, source(7)).is_none(),
            "not again at once"
        );
        advance(NOT_AGAIN).await;
        assert!(admit(&connections, source(7)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_up_to_a_second_for_buffers() {
        let limits = ConnectionLimits {
            buffered: 1,
            ..connections().limits.clone()
        };
        let connections = Arc::new(Connections::new(limits));
        let [first, second] = [7, 8].map(|last| busy(&connections, source(last)).unwrap());
        let taken = first.free_buffers().unwrap();
        assert!(
            first.end_answer(),
            "its response is the last while others may wait"
        );
        first.begin_answer();
        let began = Instant::now();
        assert!(second.free_buffers().is_none());
        assert!(second.wait_for_buffers().await.is_none());
        assert_eq!(began.elapsed(), BUFFERS_TIMEOUT);
        assert!(!is_closing(&first), "it is answering");

        let mut waiting = pin!(second.wait_for_buffers());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(taken);
        assert!(waiting.now_or_never().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_closes_where_its_buffers_are_needed() {
        let limits = ConnectionLimits {
            buffered: 2,
            ..connections().limits.clone()
        };
        let connections = Arc::new(Connections::new(limits));
        let permits = [7, 8, 9].map(|last| busy(&connections, source(last)).unwrap());
        let [idle, busy, newcomer] = &permits;
        let _taken = [idle, busy].map(|permit| permit.free_buffers().unwrap());
        idle.state().end_answer();
        assert!(newcomer.wait_for_buffers().now_or_never().is_none());
        assert!(is_closing(idle) && !is_closing(busy));
    }
}
