use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::fair_queue::{FairQueue, Place};
use super::refresh_pace::RefreshPace;
use super::shares::Shares;
use crate::{
    Ask, Attempt, CredentialSet, Expiring, Failure, FailureClass, RefreshPolicy, Slot, SlotError,
    Ticket, Timestamp,
};

/// A bounded cache of [`Slot`]s, a deterministic state machine like them.
///
/// `K` is the type of the keys, `R` that of the request (what a fetch needs, such as a token; nothing is fetched
/// with it after it has expired), `T` that of the sets, and `E` the driver's error.
///
/// If more slots hold a set than the limit, the least recently used is evicted. Slots without a set are in a
/// table of their own, so that a flood of unknown keys evicts no held set. No call scans all slots, except the first
/// after the wall clock was stepped back.
///
/// # When the table of slots without a set is full
/// A newcomer gets the place of a slot that has nothing left to do, or else of the newest slot without an attempt in
/// flight of the source that has the most slots, if these are at least two more than the newcomer's source has.
/// Otherwise the answer is [`Asked::Full`]. An attempt in flight is therefore never lost to a newcomer, and neither is
/// the only slot of a source: if more sources ask at once than there are places, the first of them are served, and
/// their places become free at the pace of the service.
///
/// # The driver's contract
/// It is that of [`Slot`]. In addition, read the [`outcome`](Self::outcome) for the callers that wait before
/// calling [`ask`](Self::ask) for another key or [`poll_fetch`](Self::poll_fetch), which drop slots that have nothing
/// left to do.
pub struct SlotCache<K, R, T, E> {
    policy: Arc<RefreshPolicy>,
    limits: CacheLimits,
    /// The slots with a set, the least recently used first.
    held: LinkedHashMap<K, Node<R, T, E>>,
    /// The slots without a set, the oldest first.
    empty: LinkedHashMap<K, Node<R, T, E>>,
    /// The sources of the empty slots.
    shares: Shares<K>,
    /// The wanted fetches that a caller waits for.
    first_fetches: FairQueue<K>,
    agenda: Agenda<K>,
    /// The pace of refreshes. First fetches are not paced, because a caller waits for them.
    refresh_pace: RefreshPace,
    /// First fetches in a row that `poll_fetch` has returned.
    first_in_a_row: u8,
    /// Slots that may have nothing left to do. They are dropped later, because callers still have to read the
    /// outcome.
    vacancy_candidates: BTreeSet<K>,
    /// The latest time of all calls. An earlier one means that the clock was stepped back.
    latest: Timestamp,
    serial: u64,
    random: fastrand::Rng,
    evicted: u64,
}

/// How large a [`SlotCache`] may grow, and how fast it refreshes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// The maximum number of slots that hold a set, usable or not. Defaults to 2,000, the official agent's
    /// figure. With 0, a set is only handed to the callers that waited for it.
    pub held: usize,
    /// The number of slots without a set at which the table is full: a new key then gets no slot, or
    /// replaces one. Slots whose sets expired while a caller waits count too, so there may be more
    /// slots than this. Defaults to 1,024.
    pub empty: usize,
    /// The maximum number of slots without a set for one source. Defaults to 256.
    pub empty_per_source: usize,
    /// The maximum number of refreshes that start in a second. Defaults to 3, the official agent's figure. While
    /// the service does not answer, refreshes start one at a time, after pauses of up to 20 s. First fetches are
    /// not limited.
    pub refreshes_per_second: f64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            held: 2000,
            empty: 1024,
            empty_per_source: 256,
            refreshes_per_second: 3.0,
        }
    }
}

/// The answer of [`SlotCache::ask`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle each answer")]
pub enum Asked<'a, T> {
    /// The set.
    Ready(&'a T),
    /// The set will be the outcome of a fetch, which the ticket stands for.
    Pending(Ticket),
    /// Too many slots wait already, for this source or in all. The caller may try again later.
    Full,
}

/// What [`SlotCache::find`] finds under a key.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle each answer")]
pub enum Found<'a, T> {
    /// A usable set.
    Ready(&'a T),
    /// A usable set, in a slot whose deadline has passed or whose refresh may start. The driver's
    /// [`handle_timeout`](SlotCache::handle_timeout) is late, for example because the machine slept.
    Overdue(&'a T),
    /// No usable set, but a round is under way. Wait for its outcome.
    Pending(Ticket),
    /// No usable set, and no round is under way.
    Idle,
}

/// The result of [`SlotCache::merge`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle each case")]
pub enum Merge<R> {
    /// At most one slot is left, under the second key. If there were two, holds the request of the dropped one,
    /// whose tickets have no outcome any more.
    Done(Option<R>),
    /// Nothing was changed, because a fetch for the first key is in flight and its result would be lost. The
    /// slots can be merged after it has ended.
    InFlight,
}

/// One attempt to fetch for one key, to be answered exactly once with [`SlotCache::handle_fetched`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheAttempt<K> {
    key: K,
    serial: u64,
    attempt: Attempt,
}

impl<K: Copy> CacheAttempt<K> {
    /// The key to fetch for.
    pub fn key(&self) -> K {
        self.key
    }

    /// How long the attempt may take.
    pub fn timeout(&self) -> Duration {
        self.attempt.timeout()
    }
}

struct Node<R, T, E> {
    slot: Slot<T, E>,
    request: R,
    source: IpAddr,
    /// Tells this slot from an earlier one under the same key.
    serial: u64,
    /// Its place among the first fetches, if it waits for one.
    turn: Option<Place>,
    index_keys: IndexKeys,
}

/// What is to be done and when. Each list is sorted, so that its next entry is found without a scan.
struct Agenda<K> {
    timers: BTreeSet<(Timestamp, K)>,
    /// Wanted refreshes, the earliest expiry first.
    refreshes: BTreeSet<(Timestamp, K)>,
}

/// The keys under which an [`Agenda`] lists a slot. They are stored with the slot, because an entry can only be
/// removed by the key that it was inserted with.
#[derive(Clone, Copy, PartialEq, Default)]
struct IndexKeys {
    timer: Option<Timestamp>,
    refresh: Option<Timestamp>,
}

impl<K: Copy + Ord> Agenda<K> {
    fn new() -> Self {
        Self {
            timers: BTreeSet::new(),
            refreshes: BTreeSet::new(),
        }
    }

    fn reindex(&mut self, key: K, from: IndexKeys, to: IndexKeys) {
        move_key(&mut self.timers, key, from.timer, to.timer);
        move_key(&mut self.refreshes, key, from.refresh, to.refresh);
    }
}

fn move_key<P: Copy + Ord, K: Copy + Ord>(
    list: &mut BTreeSet<(P, K)>,
    key: K,
    from: Option<P>,
    to: Option<P>,
) {
    if from == to {
        return;
    }
    if let Some(from) = from {
        list.remove(&(from, key));
    }
    if let Some(to) = to {
        list.insert((to, key));
    }
}

impl<R, T: CredentialSet, E: From<SlotError>> Node<R, T, E> {
    fn wanted_index_keys(&self) -> IndexKeys {
        let slot = &self.slot;
        IndexKeys {
            timer: slot.poll_timeout(),
            refresh: slot
                .held()
                .filter(|_held| slot.wants_refresh())
                .map(Expiring::expiration),
        }
    }
}

impl<K, R, T, E> SlotCache<K, R, T, E>
where
    K: Copy + Ord + Hash,
    R: Expiring,
    T: CredentialSet,
    E: From<SlotError>,
{
    /// Creates an empty cache. The jitter is computed from the seed: with equal seeds and equal calls, two caches
    /// behave alike.
    pub fn new(policy: Arc<RefreshPolicy>, limits: CacheLimits, seed: u64) -> Self {
        Self {
            policy,
            held: LinkedHashMap::new(),
            empty: LinkedHashMap::new(),
            shares: Shares::new(),
            first_fetches: FairQueue::new(),
            agenda: Agenda::new(),
            refresh_pace: RefreshPace::new(limits.refreshes_per_second),
            first_in_a_row: 0,
            vacancy_candidates: BTreeSet::new(),
            latest: Timestamp::MIN,
            serial: 0,
            random: fastrand::Rng::with_seed(seed),
            evicted: 0,
            limits,
        }
    }

    /// Looks `key` up without beginning a fetch. Counts as a use if a set is held.
    ///
    /// Calls `read` with the request and what was found, and returns its result, or `None` if the key is unknown.
    /// A usable set costs one look-up of the key, anything else two. After [`Found::Idle`] or `None`, call
    /// [`ask`](Self::ask) to begin a fetch.
    pub fn find<A>(
        &mut self,
        now: Timestamp,
        key: K,
        read: impl FnOnce(&mut R, Found<'_, T>) -> A,
    ) -> Option<A> {
        // After a step back, the slot has to examine every deadline.
        let is_stepped_back = now < self.latest;
        if is_stepped_back {
            self.notice_step(now);
        } else {
            self.latest = now;
        }
        let table = match self.held.to_back(&key) {
            Some(node) if !is_stepped_back => {
                let may_refresh =
                    node.slot.wants_refresh() && self.refresh_pace.ready_at(now) <= now;
                if let Some(value) = node.slot.hit(now) {
                    let found = match may_refresh {
                        true => Found::Overdue(value),
                        false => Found::Ready(value),
                    };
                    return Some(read(&mut node.request, found));
                }
                &mut self.held
            }
            Some(_) => &mut self.held,
            None => &mut self.empty,
        };
        let node = table.get_mut(&key)?;
        let found = match node.slot.join(now) {
            Some(Ask::Ready(value)) => Found::Overdue(value),
            Some(Ask::Pending(ticket)) => Found::Pending(ticket),
            None => Found::Idle,
        };
        let answer = read(&mut node.request, found);
        self.reindex(key);
        Some(answer)
    }

    /// Returns the set for `key` to a client at `source`. Without a usable set, returns a ticket for the fetch that
    /// is under way, and begins one if there is none.
    ///
    /// `request` returns what a fetch needs. It is only called if the key is unknown.
    pub fn ask(
        &mut self,
        now: Timestamp,
        key: K,
        source: IpAddr,
        request: impl FnOnce() -> R,
    ) -> Asked<'_, T> {
        self.notice_step(now);
        self.held.to_back(&key);
        let pending = match self.node_mut(&key) {
            Some(node) => match node.slot.ask(now) {
                Ask::Ready(_) => None,
                Ask::Pending(ticket) => Some(ticket),
            },
            None => {
                return match self.admit(now, key, source, request) {
                    Some(ticket) => Asked::Pending(ticket),
                    None => Asked::Full,
                };
            }
        };
        self.reindex(key);
        match pending {
            Some(ticket) => Asked::Pending(ticket),
            None => match self.node(&key).and_then(|node| node.slot.held()) {
                Some(value) => Asked::Ready(value),
                None => Asked::Full,
            },
        }
    }

    /// Returns the result of a round to a caller with its ticket. `None` until the round ends, or if the slot was
    /// dropped; [`peek`](Self::peek) distinguishes the two. A newer slot under the same key answers for a dropped
    /// one.
    pub fn outcome(&self, key: &K, ticket: Ticket) -> Option<Result<&T, &E>> {
        self.node(key)?.slot.outcome(ticket)
    }

    /// Returns the error of the latest failed attempt for a key, unless one has succeeded since.
    pub fn last_error(&self, key: &K) -> Option<&E> {
        self.node(key)?.slot.last_error()
    }

    /// Returns the request of a key, without counting as a use.
    ///
    /// The expiration of the request must not be changed.
    pub fn request_mut(&mut self, key: &K) -> Option<&mut R> {
        self.node_mut(key).map(|node| &mut node.request)
    }

    /// Changes the request of a key, which may change its expiration, without counting as a use.
    pub fn update_request(&mut self, now: Timestamp, key: K, change: impl FnOnce(&mut R)) {
        self.notice_step(now);
        let Some(node) = self.node_mut(&key) else {
            return;
        };
        change(&mut node.request);
        node.slot.set_end(node.request.expiration());
        self.reindex(key);
    }

    /// Moves the slot under `from` to `to`, because both keys turn out to name the same thing.
    ///
    /// If there are two slots, keeps the one with a usable set, with its request. If both or neither have one,
    /// keeps the slot under `to`. While a fetch for `from` is in flight, nothing is changed unless `to` has a
    /// usable set; the result of that fetch is then ignored.
    pub fn merge(&mut self, now: Timestamp, from: &K, to: K) -> Merge<R> {
        self.notice_step(now);
        let is_usable = |key: &K| self.peek(key).is_some_and(|slot| slot.is_usable(now));
        let Some(slot) = self.peek(from).filter(|_slot| *from != to) else {
            return Merge::Done(None);
        };
        if is_usable(&to) {
            return Merge::Done(self.remove(from).map(|node| node.request));
        }
        if slot.is_in_flight() {
            return Merge::InFlight;
        }
        if self.peek(&to).is_some() && !is_usable(from) {
            return Merge::Done(self.remove(from).map(|node| node.request));
        }
        let replaced = self.remove(&to).map(|node| node.request);
        if let Some(node) = self.remove(from) {
            self.insert_empty(to, node);
            self.reindex(to);
        }
        Merge::Done(replaced)
    }

    /// Drops the slot of a key, and returns its request. The result of a fetch in flight is then ignored.
    pub fn forget(&mut self, key: &K) -> Option<R> {
        self.remove(key).map(|node| node.request)
    }

    /// Returns the slot of a key, without counting as a use.
    pub fn peek(&self, key: &K) -> Option<&Slot<T, E>> {
        self.node(key).map(|node| &node.slot)
    }

    /// Returns an attempt to start now, with its request.
    ///
    /// First fetches, which a caller waits for, come before refreshes; the sources take turns. Refreshes come in
    /// the order of expiry, at the pace of the limits. After three first fetches in a row, a refresh that the pace
    /// allows comes first, so that held sets do not expire while a throttled driver starts few attempts.
    ///
    /// `may_fetch` is the driver's budget for each source. It is called only for first fetches, and if it returns
    /// true the attempt is returned. A source for which it returns false keeps its turn, and the driver must poll
    /// again when that changes.
    pub fn poll_fetch(
        &mut self,
        now: Timestamp,
        may_fetch: impl FnMut(IpAddr) -> bool,
    ) -> Option<(CacheAttempt<K>, &R)> {
        self.tidy();
        let refresh = match self.first_in_a_row {
            FIRST_FETCHES_IN_A_ROW.. => self.paced_refresh(now),
            _ => None,
        };
        let first = match refresh {
            Some(_) => None,
            None => self.first_fetches.take_turn(may_fetch),
        };
        self.first_in_a_row = match first {
            Some(_) => self.first_in_a_row.saturating_add(1),
            None => 0,
        };
        let key = match refresh.or(first) {
            Some(key) => key,
            None => self.paced_refresh(now)?,
        };
        let node = self.node_mut(&key)?;
        let serial = node.serial;
        let attempt = node.slot.poll_fetch(now)?;
        self.reindex(key);
        let attempt = CacheAttempt {
            key,
            serial,
            attempt,
        };
        self.node(&key).map(|node| (attempt, &node.request))
    }

    /// Drops the slots whose refresh is next, as long as `is_unneeded` returns true for their request. Returns how
    /// many were dropped.
    ///
    /// It never drops a slot for which a caller waits.
    pub fn drop_unneeded(&mut self, is_unneeded: impl Fn(&R) -> bool) -> usize {
        let mut dropped = 0;
        while let Some((_, key)) = self.agenda.refreshes.first().copied() {
            if !self
                .node(&key)
                .is_some_and(|node| is_unneeded(&node.request))
            {
                break;
            }
            self.remove(&key);
            dropped += 1;
        }
        dropped
    }

    /// Returns how many first fetches of a source have not begun.
    pub fn waiting_of(&self, source: IpAddr) -> usize {
        self.first_fetches.len_of(source)
    }

    /// Returns whether a first fetch for this key has not begun.
    pub fn is_waiting(&self, key: &K) -> bool {
        self.node(key).is_some_and(|node| node.turn.is_some())
    }

    /// Takes the result of an attempt. Returns `false`, and changes nothing, if the attempt is late or its
    /// slot was dropped.
    pub fn handle_fetched(
        &mut self,
        attempt: CacheAttempt<K>,
        now: Timestamp,
        result: Result<T, Failure<E>>,
    ) -> bool {
        self.notice_step(now);
        match result.as_ref().map_err(|failure| failure.class) {
            Ok(_) | Err(FailureClass::Gone | FailureClass::Denied) => self.refresh_pace.answered(),
            // A failed first fetch does not count, because a pod may repeat those without end.
            Err(FailureClass::Transient) if self.held.contains_key(&attempt.key) => {
                self.refresh_pace.failed(now, self.random.f64());
            }
            Err(_) => {}
        }
        let taken = match self.node_mut(&attempt.key) {
            Some(node) if node.serial == attempt.serial => {
                node.slot.handle_fetched(attempt.attempt, now, result)
            }
            _ => false,
        };
        self.reindex(attempt.key);
        taken
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) and then [`poll_fetch`](Self::poll_fetch)
    /// next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.poll_timeout_paced(Timestamp::MIN)
    }

    /// As [`poll_timeout`](Self::poll_timeout), for a driver that starts no attempt before `ready`:
    /// a refresh that could start earlier does not bring the time forward.
    pub fn poll_timeout_paced(&self, ready: Timestamp) -> Option<Timestamp> {
        let timer = self.agenda.timers.first().map(|(at, _)| *at);
        let is_paced = !self.agenda.refreshes.is_empty();
        let refresh = is_paced.then(|| self.refresh_pace.ready_at(self.latest).max(ready));
        [timer, refresh].into_iter().flatten().min()
    }

    /// Takes note of the time. Calling it early, late or often does no harm. Returns the keys whose deadline was
    /// reached: their callers may have an [`outcome`](Self::outcome) now.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<K> {
        self.notice_step(now);
        let timers = self.agenda.timers.iter();
        let reached: Vec<K> = timers
            .take_while(|(at, _)| *at <= now)
            .map(|(_, key)| *key)
            .collect();
        for key in &reached {
            self.pass_time(*key, now);
        }
        reached
    }

    /// Returns the number of slots that hold a set.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Returns the number of slots without a set.
    pub fn empty_len(&self) -> usize {
        self.empty.len()
    }

    /// Returns the number of slots that were evicted to stay within the limits.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns all keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.held.keys().chain(self.empty.keys())
    }

    /// Returns the slots that hold a set, the least recently used first.
    pub fn iter_held(&self) -> impl Iterator<Item = (&K, &Slot<T, E>)> {
        self.held.iter().map(|(key, node)| (key, &node.slot))
    }

    /// Adds a slot with a wanted fetch, if there is room for it.
    fn admit(
        &mut self,
        now: Timestamp,
        key: K,
        source: IpAddr,
        request: impl FnOnce() -> R,
    ) -> Option<Ticket> {
        self.drop_vacant();
        if self.shares.of(source) >= self.limits.empty_per_source {
            return None;
        }
        if self.empty.len() >= self.limits.empty {
            let replaced = self.shares.replaceable_by(source)?;
            self.evict(&replaced);
        }
        self.serial += 1;
        let request = request();
        let mut slot = Slot::new(Arc::clone(&self.policy), self.random.u64(..))
            .with_end(request.expiration())
            .with_serial(self.serial);
        let ticket = slot.refresh(now);
        let mut node = Node {
            slot,
            request,
            source,
            serial: self.serial,
            turn: None,
            index_keys: IndexKeys::default(),
        };
        if node.slot.wants_first() {
            node.turn = Some(self.first_fetches.push(source, key, false));
        }
        node.index_keys = node.wanted_index_keys();
        self.agenda
            .reindex(key, IndexKeys::default(), node.index_keys);
        self.insert_empty(key, node);
        Some(ticket)
    }

    /// Returns the refresh with the earliest expiry, if the pace allows one now. In an outage it is the earliest of
    /// those that have failed least often, so that one set that cannot be refreshed does not delay the others.
    fn paced_refresh(&mut self, now: Timestamp) -> Option<K> {
        self.latest = self.latest.max(now);
        if now < self.refresh_pace.ready_at(now) {
            return None;
        }
        let refreshes = &self.agenda.refreshes;
        let (_, key) = match self.refresh_pace.is_outage() {
            false => *refreshes.first()?,
            true => *refreshes.iter().min_by_key(|(expires, key)| {
                let failures = self.node(key).map_or(0, |node| node.slot.failures());
                (failures, *expires)
            })?,
        };
        let fraction = self.random.f64();
        self.refresh_pace.try_take(now, fraction).then_some(key)
    }

    fn pass_time(&mut self, key: K, now: Timestamp) {
        if let Some(node) = self.node_mut(&key) {
            node.slot.handle_timeout(now);
        }
        self.reindex(key);
    }

    /// Updates the agenda, the queue and the tables for a slot. Must be called after every change of a slot.
    fn reindex(&mut self, key: K) {
        let Some(node) = self.held.get_mut(&key).or_else(|| self.empty.get_mut(&key)) else {
            return;
        };
        match (node.turn, node.slot.wants_first()) {
            (None, true) => {
                let is_retry = node.slot.is_retry();
                node.turn = Some(self.first_fetches.push(node.source, key, is_retry));
            }
            (Some(place), false) => {
                self.first_fetches.remove(node.source, place);
                node.turn = None;
            }
            _ => {}
        }
        let to = node.wanted_index_keys();
        let from = std::mem::replace(&mut node.index_keys, to);
        let (has, vacant) = (node.slot.held().is_some(), node.slot.is_vacant());
        let (source, serial, in_flight) = (node.source, node.serial, node.slot.is_in_flight());
        self.agenda.reindex(key, from, to);
        self.move_between_tables(key, has);
        if !has {
            self.shares.set_replaceable(source, serial, key, !in_flight);
        }
        if vacant {
            self.vacancy_candidates.insert(key);
        }
    }

    /// Moves a slot to the other table if it now holds a set, or no longer does.
    fn move_between_tables(&mut self, key: K, has: bool) {
        if has {
            if let Some(node) = self.take_empty(&key) {
                self.held.insert(key, node);
            }
        } else if let Some(node) = self.held.remove(&key) {
            self.insert_empty(key, node);
        }
    }

    /// Drops the slots that have nothing left to do and those over the limit.
    fn tidy(&mut self) {
        self.drop_vacant();
        while self.held.len() > self.limits.held {
            let Some(key) = self.held.front().map(|(key, _)| *key) else {
                break;
            };
            self.evict(&key);
        }
    }

    fn drop_vacant(&mut self) {
        while let Some(key) = self.vacancy_candidates.pop_first() {
            if self.node(&key).is_some_and(|node| node.slot.is_vacant()) {
                self.remove(&key);
            }
        }
    }

    fn evict(&mut self, key: &K) {
        self.remove(key);
        self.evicted += 1;
    }

    /// Takes a slot out of the tables, the agenda and the queue.
    fn remove(&mut self, key: &K) -> Option<Node<R, T, E>> {
        let node = self.held.remove(key).or_else(|| self.take_empty(key));
        let mut node = node?;
        let indexed = std::mem::take(&mut node.index_keys);
        self.agenda.reindex(*key, indexed, IndexKeys::default());
        if let Some(place) = node.turn.take() {
            self.first_fetches.remove(node.source, place);
        }
        Some(node)
    }

    fn insert_empty(&mut self, key: K, node: Node<R, T, E>) {
        self.shares.insert(node.source, node.serial, key);
        self.empty.insert(key, node);
    }

    fn take_empty(&mut self, key: &K) -> Option<Node<R, T, E>> {
        let node = self.empty.remove(key)?;
        self.shares.remove(node.source, node.serial);
        Some(node)
    }

    fn node(&self, key: &K) -> Option<&Node<R, T, E>> {
        self.held.get(key).or_else(|| self.empty.get(key))
    }

    fn node_mut(&mut self, key: &K) -> Option<&mut Node<R, T, E>> {
        match self.held.get_mut(key) {
            Some(node) => Some(node),
            None => self.empty.get_mut(key),
        }
    }

    /// Passes the time to every slot after a step back, because all deadlines are then too late by its length.
    fn notice_step(&mut self, now: Timestamp) {
        if now + STEP_TOLERANCE < self.latest {
            let keys: Vec<K> = self.keys().copied().collect();
            for key in keys {
                self.pass_time(key, now);
            }
            self.refresh_pace.notice_step(now);
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }
}

impl<K, R, T, E> fmt::Debug for SlotCache<K, R, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotCache")
            .field("limits", &self.limits)
            .field("held", &self.held.len())
            .field("empty", &self.empty.len())
            .field("evicted", &self.evicted)
            .finish_non_exhaustive()
    }
}

/// A correction of the clock by less than this is not a step.
const STEP_TOLERANCE: Duration = Duration::from_secs(10);

/// First fetches come before refreshes because a caller waits for them, but not without end.
const FIRST_FETCHES_IN_A_ROW: u8 = 3;
