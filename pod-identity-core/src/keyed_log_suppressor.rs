use std::hash::Hash;
use std::ops::Add;
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::LogSuppressor;

/// A bounded table of [`LogSuppressor`]s, for messages about things that others can choose, such as
/// addresses.
///
/// What can be made to be logged is bounded too: where the table is full of keys that were logged
/// within the interval, a new key is suppressed. So at most `capacity` lines are logged per interval.
#[derive(Debug)]
pub struct KeyedLogSuppressor<K, T> {
    interval: Duration,
    capacity: usize,
    /// The key that was logged longest ago first.
    keys: LinkedHashMap<K, LogSuppressor<T>>,
}

impl<K, T> KeyedLogSuppressor<K, T>
where
    K: Eq + Hash,
    T: Copy + PartialOrd + Add<Duration, Output = T>,
{
    /// Logs at most one line per key and `interval`, and remembers `capacity` keys.
    pub fn new(interval: Duration, capacity: usize) -> Self {
        Self {
            interval,
            capacity,
            keys: LinkedHashMap::new(),
        }
    }

    /// Notes an occurrence, as [`LogSuppressor::occurred`].
    pub fn occurred(&mut self, now: T, key: K) -> Option<u64> {
        if let Some(known) = self.keys.get_mut(&key) {
            let logged = known.occurred(now);
            if logged.is_some() {
                self.keys.to_back(&key);
            }
            return logged;
        }
        if self.keys.len() >= self.capacity {
            // Only what would be logged anew may be forgotten, or a flood of keys fills the log.
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

    /// Notes that the problem with this key is over, as [`LogSuppressor::recovered`].
    pub fn recovered(&mut self, key: &K) -> bool {
        self.keys.get_mut(key).is_some_and(LogSuppressor::recovered)
    }

    /// The number of keys remembered.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key is remembered.
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
