use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The slots without a set of each source, and which of them gives way to a newcomer.
///
/// Entries are numbered in the order of arrival. Every call takes logarithmic time.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    by_source: BTreeMap<IpAddr, Share<K>>,
    /// The size and the newest replaceable entry of each share that has a replaceable entry, in ascending order.
    by_size: BTreeSet<(usize, u64, IpAddr)>,
}

#[derive(Debug)]
struct Share<K> {
    len: usize,
    replaceable: BTreeMap<u64, K>,
}

impl<K: Copy> Shares<K> {
    pub(crate) fn new() -> Self {
        Self {
            by_source: BTreeMap::new(),
            by_size: BTreeSet::new(),
        }
    }

    pub(crate) fn of(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).map_or(0, |share| share.len)
    }

    /// Returns the entry that gives way to a new one of `source`: of the largest share, the newest replaceable entry.
    /// `None` if that share does not have at least two entries more than the source.
    ///
    /// With a smaller difference, the two sources would replace each other's entries in turn. The newest entry is the
    /// one whose turn is farthest away.
    pub(crate) fn replaceable_by(&self, source: IpAddr) -> Option<K> {
        let (most, newest, from) = self.by_size.last()?;
        let entries = &self.by_source.get(from)?.replaceable;
        let key = entries.get(newest).copied();
        key.filter(|_key| *most > self.of(source) + 1)
    }

    /// Adds a replaceable entry.
    pub(crate) fn insert(&mut self, source: IpAddr, serial: u64, key: K) {
        self.change(source, |share| {
            share.len += 1;
            share.replaceable.insert(serial, key);
        });
    }

    pub(crate) fn set_replaceable(
        &mut self,
        source: IpAddr,
        serial: u64,
        key: K,
        is_replaceable: bool,
    ) {
        let share = self.by_source.get(&source);
        let was = share.is_some_and(|share| share.replaceable.contains_key(&serial));
        if was != is_replaceable {
            self.change(source, |share| match is_replaceable {
                true => drop(share.replaceable.insert(serial, key)),
                false => drop(share.replaceable.remove(&serial)),
            });
        }
    }

    pub(crate) fn remove(&mut self, source: IpAddr, serial: u64) {
        self.change(source, |share| {
            share.len = share.len.saturating_sub(1);
            share.replaceable.remove(&serial);
        });
    }

    fn change(&mut self, source: IpAddr, change: impl FnOnce(&mut Share<K>)) {
        let share = self.by_source.entry(source).or_insert_with(|| Share {
            len: 0,
            replaceable: BTreeMap::new(),
        });
        let before = rank(share, source);
        change(share);
        let (after, is_empty) = (rank(share, source), share.len == 0);
        if let Some(before) = before {
            self.by_size.remove(&before);
        }
        if let Some(after) = after {
            self.by_size.insert(after);
        }
        if is_empty {
            self.by_source.remove(&source);
        }
    }
}

/// Returns the entry of a share in [`Shares::by_size`], or `None` if nothing in it can be replaced.
fn rank<K>(share: &Share<K>, source: IpAddr) -> Option<(usize, u64, IpAddr)> {
    let (newest, _) = share.replaceable.last_key_value()?;
    Some((share.len, *newest, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Shares with these entries, each under its serial.
    fn shares(sources: &[u8]) -> Shares<u64> {
        let mut shares = Shares::new();
        for (serial, from) in (0..).zip(sources) {
            shares.insert(source(*from), serial, serial);
        }
        shares
    }

    #[test]
    fn the_newest_of_the_largest_share_gives_way_to_a_source_with_two_fewer() {
        let mut shares = shares(&[1, 2, 2, 1, 2]);
        assert_eq!([1, 2, 3].map(|from| shares.of(source(from))), [2, 3, 0]);
        let given = [1, 2, 3].map(|from| shares.replaceable_by(source(from)));
        assert_eq!(given, [None, None, Some(4)]);
        shares.remove(source(2), 4);
        assert_eq!(
            shares.replaceable_by(source(3)),
            Some(3),
            "as large, and newer"
        );
        shares.remove(source(1), 3);
        shares.remove(source(2), 2);
        assert_eq!(shares.replaceable_by(source(3)), None, "each has one");
        shares.remove(source(1), 0);
        shares.remove(source(2), 1);
        assert_eq!([1, 2].map(|from| shares.of(source(from))), [0, 0]);
        assert!(shares.by_source.is_empty() && shares.by_size.is_empty());
    }

    #[test]
    fn an_entry_that_is_not_replaceable_counts_and_stays() {
        let mut shares = shares(&[1, 1, 1, 2, 2]);
        shares.set_replaceable(source(1), 2, 2, false);
        assert_eq!(shares.replaceable_by(source(3)), Some(1));
        for serial in [0, 1] {
            shares.set_replaceable(source(1), serial, serial, false);
        }
        assert_eq!(shares.of(source(1)), 3);
        assert_eq!(
            shares.replaceable_by(source(3)),
            Some(4),
            "of another source"
        );
        shares.set_replaceable(source(1), 0, 0, true);
        assert_eq!(shares.replaceable_by(source(3)), Some(0));
        for serial in 0..3 {
            shares.remove(source(1), serial);
        }
        assert_eq!(shares.of(source(1)), 0);
        assert_eq!(shares.replaceable_by(source(3)), Some(4));
    }
}
