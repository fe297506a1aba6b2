use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How many connections there may be, which one makes room for a newcomer, and how long they may rest.
///
/// A connection that has not sent a whole request header yet is cheap to open and cheap to lose: of
/// those the oldest is closed first, so that slow or silent clients cannot keep others out. Where there
/// is none, the one goes that has been idle for longest, of the address that has most.
#[derive(Debug)]
pub(crate) struct Connections {
    caps: Caps,
    /// Held for the book-keeping only.
    book: Mutex<Book>,
}

/// The most connections that are open at once.
#[derive(Debug, Clone)]
pub(crate) struct Caps {
    /// From one address.
    pub(crate) per_source: usize,
    /// From one address of the node's own interfaces, which host-network pods share.
    pub(crate) per_node_address: usize,
    /// From all.
    pub(crate) total: usize,
    /// Without a whole header, from one address.
    pub(crate) headless_per_source: usize,
    /// Without a whole header, from all.
    pub(crate) headless: usize,
    pub(crate) node_addresses: Vec<IpAddr>,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            per_source: 256,
            per_node_address: 1024,
            total: 4096,
            headless_per_source: 128,
            headless: 512,
            node_addresses: Vec::new(),
        }
    }
}

impl Connections {
    pub(crate) fn new(caps: Caps) -> Self {
        Self {
            caps,
            book: Mutex::default(),
        }
    }

    /// A place for a new connection, which it holds until dropped. `None`: there are too many.
    pub(crate) fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut book = self.book();
        let of_source = book.by_source.get(&source).copied().unwrap_or_default();
        let most = if self.caps.node_addresses.contains(&source) {
            self.caps.per_node_address
        } else {
            self.caps.per_source
        };
        // One more is let in beyond the caps if another makes room for it.
        if of_source >= most
            && book.close_oldest_of(source).is_none()
            && book.close_idlest_of(source).is_none()
            || book.lives.len() >= self.caps.total
                && book.close_oldest().is_none()
                && book.close_idlest().is_none()
        {
            return None;
        }
        let id = book.next_id;
        book.next_id += 1;
        *book.by_source.entry(source).or_default() += 1;
        let place = Place {
            connections: Arc::clone(self),
            id,
            source,
            headless: AtomicBool::new(true),
            life: Arc::default(),
        };
        book.lives.insert(id, (source, Arc::clone(&place.life)));
        book.note_headless(&place, &self.caps);
        Some(place)
    }

    /// Closes connections that have been idle for [`IDLE_FOR`], until dropped.
    ///
    /// One look at all of them, now and then, costs less than a timer for each that every request sets.
    pub(crate) async fn close_idle(&self) {
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            for (_, life) in self.book().lives.values() {
                if life.looked_at_idle() > LOOKS {
                    life.closing.notify_one();
                }
            }
        }
    }

    /// Closes the oldest connection without a whole header, or else the one that has been idle for
    /// longest.
    pub(crate) fn make_room(&self) {
        let mut book = self.book();
        let _one = book.close_oldest().or_else(|| book.close_idlest());
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.book().lives.len()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection may be idle for this long, and up to half a second more; the official agent's 30 s race
/// with the pools of SDKs.
const IDLE_FOR: Duration = Duration::from_secs(90);

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const LOOKS: u8 = (IDLE_FOR.as_millis() / BETWEEN_LOOKS.as_millis()) as u8;

/// The place of one open connection, and where that is between requests.
///
/// One task works on a connection, so that no order between threads is needed.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    id: u64,
    source: IpAddr,
    /// Whether it counts among those without a whole header.
    headless: AtomicBool,
    life: Arc<Life>,
}

/// What is known of a connection without asking its task.
#[derive(Debug, Default)]
struct Life {
    stage: AtomicU8,
    /// How often it was idle when looked at since its latest request.
    looks: AtomicU8,
    closing: Notify,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It has sent nothing yet, or nothing since its latest answer.
    Idle,
    /// A request header has begun to arrive.
    Header,
    /// A request is being answered.
    Answering,
    /// It makes room for another, unless a request comes at the last moment.
    Leaving,
}

impl Life {
    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }

    fn looked_at_idle(&self) -> u8 {
        if !self.is(Stage::Idle) {
            return 0;
        }
        self.looks.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    fn looks(&self) -> u8 {
        self.looks.load(Ordering::Relaxed)
    }

    /// `None` where a request is being answered.
    fn leave(&self) -> Option<()> {
        let leaving = |stage| (stage != Stage::Answering as u8).then_some(Stage::Leaving as u8);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.stage.fetch_update(set, read, leaving).ok()?;
        self.closing.notify_one();
        Some(())
    }
}

impl Place {
    pub(crate) fn is(&self, stage: Stage) -> bool {
        self.life.is(stage)
    }

    /// The first byte of a header is here.
    pub(crate) fn begin_header(&self) {
        self.life.enter(Stage::Header);
    }

    /// More of a header is wanted than has arrived. Most arrive in one piece and are never counted.
    pub(crate) fn wait_for_header(&self) {
        if !self.headless.swap(true, Ordering::Relaxed) {
            let connections = &self.connections;
            connections.book().note_headless(self, &connections.caps);
        }
    }

    /// A header is whole: the request is being answered.
    pub(crate) fn begin_answer(&self) {
        self.life.enter(Stage::Answering);
        self.life.looks.store(0, Ordering::Relaxed);
        if self.headless.swap(false, Ordering::Relaxed) {
            self.connections
                .book()
                .forget_headless(self.id, self.source);
        }
    }

    /// The answer is made: the next byte begins another header.
    pub(crate) fn end_answer(&self) {
        self.life.enter(Stage::Idle);
    }

    /// Ready when the connection has to go: it has been idle for long, or others need the room.
    pub(crate) async fn closing(&self) {
        loop {
            self.life.closing.notified().await;
            // A request that came at the last moment is answered.
            if !self.is(Stage::Answering) {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.connections.book();
        book.forget_headless(self.id, self.source);
        book.lives.remove(&self.id);
        if let Some(count) = book.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                book.by_source.remove(&self.source);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    next_id: u64,
    lives: HashMap<u64, (IpAddr, Arc<Life>)>,
    by_source: HashMap<IpAddr, usize>,
    /// Without a whole header, the oldest first.
    headless: BTreeMap<u64, IpAddr>,
    headless_by_source: BTreeSet<(IpAddr, u64)>,
}

impl Book {
    fn note_headless(&mut self, place: &Place, caps: &Caps) {
        if self.headless_of(place.source).count() >= caps.headless_per_source {
            self.close_oldest_of(place.source);
        }
        if self.headless.len() >= caps.headless {
            self.close_oldest();
        }
        self.headless.insert(place.id, place.source);
        self.headless_by_source.insert((place.source, place.id));
    }

    fn forget_headless(&mut self, id: u64, source: IpAddr) {
        self.headless.remove(&id);
        self.headless_by_source.remove(&(source, id));
    }

    fn headless_of(&self, source: IpAddr) -> impl Iterator<Item = &(IpAddr, u64)> {
        self.headless_by_source
            .range((source, 0)..=(source, u64::MAX))
    }

    fn close_oldest_of(&mut self, source: IpAddr) -> Option<()> {
        let (_, id) = *self.headless_of(source).next()?;
        self.close(id)
    }

    fn close_oldest(&mut self) -> Option<()> {
        let (id, _) = self.headless.first_key_value()?;
        self.close(*id)
    }

    fn close(&mut self, id: u64) -> Option<()> {
        let source = self.headless.remove(&id)?;
        self.headless_by_source.remove(&(source, id));
        self.lives.get(&id)?.1.leave()
    }

    fn close_idlest_of(&self, source: IpAddr) -> Option<()> {
        self.close_idlest_if(|of| of == source)
    }

    /// Of the address that has most: whoever has few connections is not closed for who has many.
    fn close_idlest(&self) -> Option<()> {
        self.close_idlest_if(|_any| true)
    }

    fn close_idlest_if(&self, may_go: impl Fn(IpAddr) -> bool) -> Option<()> {
        let may_go = |source: IpAddr, life: &Life| life.is(Stage::Idle) && may_go(source);
        let idle = self.lives.iter();
        let idle = idle.filter(|(_, (source, life))| may_go(*source, life));
        let (_, (_, life)) = idle.max_by_key(|(id, (source, life))| {
            (self.by_source.get(source), life.looks(), Reverse(**id))
        })?;
        life.leave()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(Caps {
            per_source: 4,
            per_node_address: 8,
            total: 10,
            headless_per_source: 2,
            headless: 5,
            node_addresses: vec![source(1)],
        }))
    }

    async fn is_closing(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.closing() => true,
            () = std::future::ready(()) => false,
        }
    }

    fn busy(connections: &Arc<Connections>, source: IpAddr) -> Option<Place> {
        let place = connections.admit(source)?;
        place.begin_answer();
        Some(place)
    }

    fn idle(connections: &Arc<Connections>, source: IpAddr) -> Place {
        let place = busy(connections, source).unwrap();
        place.end_answer();
        place
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
        let looking = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { looking.close_idle().await });
        let neighbour = idle(&connections, source(8));
        tokio::time::sleep(Duration::from_secs(30)).await;
        let places = [7; 4].map(|last| idle(&connections, source(last)));
        tokio::time::sleep(Duration::from_secs(10)).await;
        for recent in [&places[0], &places[2], &places[3]] {
            recent.begin_answer();
            recent.end_answer();
        }
        let newcomer = busy(&connections, source(7)).unwrap();
        assert!(is_closing(&places[1]).await);
        for stays in [&places[0], &places[2], &places[3], &neighbour] {
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
        let places: Vec<_> = (0..20)
            .filter_map(|last| busy(&connections, source(last)))
            .collect();
        assert_eq!(places.len(), 10);
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
        let looking = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { looking.close_idle().await });
        let place = connections.admit(source(7)).unwrap();
        for _request in 0..3 {
            tokio::time::sleep(Duration::from_secs(90)).await;
            assert!(!is_closing(&place).await);
            place.begin_answer();
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert!(!is_closing(&place).await, "an answer may take longer");
            place.end_answer();
        }
        let ended = tokio::time::Instant::now();
        place.closing().await;
        let idle = ended.elapsed().as_secs_f64();
        assert!((90.0..=90.6).contains(&idle), "{idle} s");
    }

    #[tokio::test]
    async fn a_request_that_comes_while_its_connection_is_closed_is_answered() {
        let connections = connections();
        let place = connections.admit(source(7)).unwrap();
        connections.make_room();
        place.begin_answer();
        assert!(!is_closing(&place).await);
    }
}
