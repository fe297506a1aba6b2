use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many connections there may be, and which one makes room for a newcomer.
///
/// A connection that has not sent a whole request header yet is cheap to open and cheap to lose: of
/// those the oldest is closed first, so that slow or silent clients cannot keep others out.
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
        // One more is let in beyond the caps if a headless one makes room for it.
        if of_source >= most && book.close_oldest_of(source).is_none()
            || book.open >= self.caps.total && book.close_oldest().is_none()
        {
            return None;
        }
        let id = book.next_id;
        book.next_id += 1;
        book.open += 1;
        *book.by_source.entry(source).or_default() += 1;
        let place = Place {
            connections: Arc::clone(self),
            id,
            source,
            closing: Arc::new(Notify::new()),
        };
        book.begin_header(&place, &self.caps);
        Some(place)
    }

    /// Closes the oldest connection without a whole header, if there is one.
    pub(crate) fn make_room(&self) {
        self.book().close_oldest();
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.book().open
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one open connection.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    id: u64,
    source: IpAddr,
    closing: Arc<Notify>,
}

impl Place {
    /// A header has begun to arrive.
    pub(crate) fn begin_header(&self) {
        self.connections
            .book()
            .begin_header(self, &self.connections.caps);
    }

    /// The header is whole.
    pub(crate) fn end_header(&self) {
        self.connections.book().end_header(self.id, self.source);
    }

    /// Ready when the connection has to make room.
    pub(crate) async fn closing(&self) {
        self.closing.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.connections.book();
        book.end_header(self.id, self.source);
        book.open = book.open.saturating_sub(1);
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
    open: usize,
    by_source: HashMap<IpAddr, usize>,
    /// Without a whole header, the oldest first.
    headless: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
    headless_by_source: BTreeSet<(IpAddr, u64)>,
}

impl Book {
    fn begin_header(&mut self, place: &Place, caps: &Caps) {
        if self.headless.contains_key(&place.id) {
            return;
        }
        if self.headless_of(place.source).count() >= caps.headless_per_source {
            self.close_oldest_of(place.source);
        }
        if self.headless.len() >= caps.headless {
            self.close_oldest();
        }
        self.headless
            .insert(place.id, (place.source, Arc::clone(&place.closing)));
        self.headless_by_source.insert((place.source, place.id));
    }

    fn end_header(&mut self, id: u64, source: IpAddr) {
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
        let (source, closing) = self.headless.remove(&id)?;
        self.headless_by_source.remove(&(source, id));
        closing.notify_one();
        Some(())
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
        place.end_header();
        Some(place)
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

    #[tokio::test]
    async fn a_connection_between_requests_is_not_without_a_header() {
        let connections = connections();
        let idle = busy(&connections, source(7)).unwrap();
        let _silent = [1, 2].map(|_| connections.admit(source(7)).unwrap());
        assert!(!is_closing(&idle).await);
        idle.begin_header();
        let _newcomer = [1, 2].map(|_| connections.admit(source(7)));
        assert!(is_closing(&idle).await, "now it is the oldest of them");
    }
}
