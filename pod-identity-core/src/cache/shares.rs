use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The number of entries of each source, and the oldest of them.
///
/// Entries are numbered in the order of arrival. Every call takes logarithmic time.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    by_source: BTreeMap<IpAddr, BTreeMap<u64, K>>,
    /// Size and oldest entry of each share, in ascending order of size. Among shares of equal size, the one with
    /// the oldest entry is last.
    by_size: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

impl<K: Copy> Shares<K> {
    pub(crate) fn new() -> Self {
        Self {
            by_source: BTreeMap::new(),
            by_size: BTreeSet::new(),
        }
    }

    pub(crate) fn of(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).map_or(0, BTreeMap::len)
    }

    /// Returns the size of the largest share and its oldest entry. Of equally large shares it is the one with the
    /// oldest entry.
    pub(crate) fn largest(&self) -> Option<(usize, K)> {
        let (size, _oldest, source) = self.by_size.last()?;
        let oldest = self.by_source.get(source)?.values().next()?;
        Some((*size, *oldest))
    }

    pub(crate) fn insert(&mut self, source: IpAddr, serial: u64, key: K) {
        self.change(source, |entries| {
            entries.insert(serial, key);
        });
    }

    pub(crate) fn remove(&mut self, source: IpAddr, serial: u64) {
        self.change(source, |entries| {
            entries.remove(&serial);
        });
    }

    fn change(&mut self, source: IpAddr, change: impl FnOnce(&mut BTreeMap<u64, K>)) {
        let entries = self.by_source.entry(source).or_default();
        let before = rank(entries, source);
        change(entries);
        let after = rank(entries, source);
        if let Some(before) = before {
            self.by_size.remove(&before);
        }
        match after {
            Some(after) => {
                self.by_size.insert(after);
            }
            None => {
                self.by_source.remove(&source);
            }
        }
    }
}

/// Returns the entry of a share in [`Shares::by_size`], or `None` for an empty one.
fn rank<K>(entries: &BTreeMap<u64, K>, source: IpAddr) -> Option<(usize, Reverse<u64>, IpAddr)> {
    let (oldest, _) = entries.first_key_value()?;
    Some((entries.len(), Reverse(*oldest), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_largest_share_is_found() {
        let [a, b] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let mut shares = Shares::new();
        assert_eq!(shares.largest(), None);
        for (serial, source) in [a, b, b, a, b].into_iter().enumerate() {
            shares.insert(source, serial as u64, serial);
        }
        assert_eq!((shares.of(a), shares.of(b)), (2, 3));
        assert_eq!(shares.largest(), Some((3, 1)));
        shares.remove(b, 1);
        assert_eq!(shares.largest(), Some((2, 0)), "as large, and older");
        shares.remove(b, 2);
        assert_eq!(shares.largest(), Some((2, 0)));
        for serial in [0, 3, 4] {
            shares.remove(a, serial);
            shares.remove(b, serial);
        }
        assert_eq!(shares.largest(), None);
        assert_eq!(shares.of(a), 0);
    }
}
