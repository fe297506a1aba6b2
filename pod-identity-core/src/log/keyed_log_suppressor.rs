use std::hash::Hash;
use std::ops::Add;
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::LogSuppressor;

/// A bounded table of [`LogSuppressor`]s, for messages with a key that clients can choose, such as an address.
///
/// The log is bounded, too. If the table is full of keys that were logged within the interval, a new key is
/// suppressed, so at most `capacity` lines are logged per interval.
#[derive(Debug)]
pub struct KeyedLogSuppressor<K, T> {
    interval: Duration,
    capacity: usize,
    /// Least recently logged first.
    keys: LinkedHashMap<K, LogSuppressor<T>>,
}

impl<K, T> KeyedLogSuppressor<K, T>
where
    K: Eq + Hash,
    T: Copy + PartialOrd + Add<Duration, Output = T>,
{
    /// Creates an empty table of `capacity` keys that allows one line per key and `interval`.
    pub fn new(interval: Duration, capacity: usize) -> Self {
        Self {
            interval,
            capacity,
            keys: LinkedHashMap::new(),
        }
    }

    /// Takes note of an occurrence, as [`LogSuppressor::occurred`] does.
    pub fn occurred(&mut self, now: T, key: K) -> Option<u64> {
        if let Some(known) = self.keys.get_mut(&key) {
            let logged = known.occurred(now);
            if logged.is_some() {
                self.keys.to_back(&key);
            }
            return logged;
        }
        if self.keys.len() >= self.capacity {
            // A key may be removed only if it would be logged again. Otherwise a flood of keys fills the log.
            let oldest = self.keys.front()?.1;
            if !oldest.is_over(now) {
                return None;
            }
            self.keys.pop_front();
        }
        let mut suppressor = LogSuppressor::new(self.interval);
        let logged = suppressor.occurred(now);
        self.keys.insert(key, suppressor);
        logged
    }

    /// Takes note of the recovery of a key, as [`LogSuppressor::recovered`] does.
    pub fn recovered(&mut self, key: &K) -> bool {
        self.keys.get_mut(key).is_some_and(LogSuppressor::recovered)
    }

    /// Returns the number of keys in the table.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_key_has_its_own_line_and_its_own_recovery() {
        let mut log = KeyedLogSuppressor::new(MINUTE, 8);
        for key in ["a", "b"] {
            assert_eq!(log.occurred(START, key), Some(0));
            assert_eq!(log.occurred(START, key), None);
        }
        assert!(log.recovered(&"a"));
        assert!(!log.recovered(&"a"));
        assert!(log.recovered(&"b"));
        assert!(!log.recovered(&"c"));
    }

    #[test]
    fn a_flood_of_keys_fills_the_table_and_not_the_log() {
        let mut log = KeyedLogSuppressor::new(MINUTE, 512);
        for now in [START, START + MINUTE] {
            let logged = (0..10_000).filter_map(|key| log.occurred(now, key));
            assert_eq!(logged.count(), 512);
            assert_eq!(log.len(), 512);
        }
    }

    #[test]
    fn a_table_without_room_logs_nothing() {
        let mut log = KeyedLogSuppressor::new(MINUTE, 0);
        assert_eq!(log.occurred(START, 1), None);
        assert!(log.is_empty());
    }
}
