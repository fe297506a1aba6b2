use std::collections::BTreeMap;
use std::net::IpAddr;

use hashlink::LinkedHashMap;

/// A queue of keys that is fair between sources and within each source.
///
/// Sources take turns, one key each. Within a source, new keys and retries take turns, so that neither a backlog
/// of retries nor a stream of new keys blocks the other. Keys of one kind keep their order of arrival.
#[derive(Debug)]
pub(crate) struct FairQueue<K> {
    /// The source whose turn is next comes first. No source is empty.
    sources: LinkedHashMap<IpAddr, Waiting<K>>,
    arrivals: u64,
}

/// The place of one key among those of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    is_retry: bool,
    arrival: u64,
}

#[derive(Debug)]
struct Waiting<K> {
    newcomers: BTreeMap<u64, K>,
    retries: BTreeMap<u64, K>,
    retry_is_next: bool,
}

impl<K: Copy> FairQueue<K> {
    pub(crate) fn new() -> Self {
        Self {
            sources: LinkedHashMap::new(),
            arrivals: 0,
        }
    }

    pub(crate) fn push(&mut self, source: IpAddr, key: K, is_retry: bool) -> Place {
        self.arrivals += 1;
        let place = Place {
            is_retry,
            arrival: self.arrivals,
        };
        let waiting = self.sources.entry(source).or_insert_with(Waiting::new);
        waiting.of_kind(is_retry).insert(place.arrival, key);
        place
    }

    pub(crate) fn remove(&mut self, source: IpAddr, place: Place) {
        if let Some(waiting) = self.sources.get_mut(&source) {
            waiting.of_kind(place.is_retry).remove(&place.arrival);
            if waiting.len() == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Returns the next key of the first source for which `may_go` returns true, and ends the turn of that source.
    /// The key stays in the queue until it is removed.
    ///
    /// `may_go` is called at most once for each source, until it returns true.
    pub(crate) fn take_turn(&mut self, mut may_go: impl FnMut(IpAddr) -> bool) -> Option<K> {
        let source = self.sources.keys().copied().find(|from| may_go(*from))?;
        self.sources.to_back(&source)?.take_turn()
    }

    /// Returns the number of keys of a source.
    pub(crate) fn len_of(&self, source: IpAddr) -> usize {
        self.sources.get(&source).map_or(0, Waiting::len)
    }
}

impl<K: Copy> Waiting<K> {
    fn new() -> Self {
        Self {
            newcomers: BTreeMap::new(),
            retries: BTreeMap::new(),
            retry_is_next: false,
        }
    }

    fn of_kind(&mut self, is_retry: bool) -> &mut BTreeMap<u64, K> {
        if is_retry {
            &mut self.retries
        } else {
            &mut self.newcomers
        }
    }

    fn take_turn(&mut self) -> Option<K> {
        let (first, second) = match self.retry_is_next {
            true => (&self.retries, &self.newcomers),
            false => (&self.newcomers, &self.retries),
        };
        let next = first.values().next().or_else(|| second.values().next());
        self.retry_is_next = !self.retry_is_next;
        next.copied()
    }

    fn len(&self) -> usize {
        self.newcomers.len() + self.retries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Takes every key out, in the order of turns.
    fn drain(queue: &mut FairQueue<u32>, places: &mut Vec<(IpAddr, Place, u32)>) -> Vec<u32> {
        std::iter::from_fn(|| {
            let next = queue.take_turn(|_any| true)?;
            let at = places.iter().position(|(_, _, key)| *key == next)?;
            let (source, place, key) = places.remove(at);
            queue.remove(source, place);
            Some(key)
        })
        .collect()
    }

    fn filled(keys: &[(u8, u32, bool)]) -> (FairQueue<u32>, Vec<(IpAddr, Place, u32)>) {
        let mut queue = FairQueue::new();
        let places = keys
            .iter()
            .map(|(from, key, is_retry)| {
                let source = source(*from);
                (source, queue.push(source, *key, *is_retry), *key)
            })
            .collect();
        (queue, places)
    }

    #[test]
    fn sources_take_turns() {
        let (mut queue, mut places) = filled(&[
            (1, 10, false),
            (1, 11, false),
            (1, 12, false),
            (2, 20, false),
            (2, 21, false),
            (3, 30, false),
        ]);
        assert_eq!(queue.len_of(source(1)), 3);
        assert_eq!(drain(&mut queue, &mut places), [10, 20, 30, 11, 21, 12]);
        assert_eq!(queue.len_of(source(1)), 0);
    }

    #[test]
    fn within_a_source_newcomers_and_retries_take_turns() {
        let (mut queue, mut places) = filled(&[
            (1, 10, true),
            (1, 11, true),
            (1, 12, true),
            (1, 13, false),
            (1, 14, false),
        ]);
        assert_eq!(drain(&mut queue, &mut places), [13, 10, 14, 11, 12]);
    }

    #[test]
    fn a_source_that_may_not_go_keeps_its_turn() {
        let (mut queue, _places) = filled(&[(1, 10, false), (2, 20, false), (2, 21, false)]);
        assert_eq!(queue.take_turn(|from| from != source(1)), Some(20));
        assert_eq!(queue.take_turn(|_none| false), None);
        assert_eq!(queue.take_turn(|_any| true), Some(10));
    }
}
