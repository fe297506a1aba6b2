use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use pod_identity_core::Timestamp;

use crate::Visibility;
use crate::eks::associations::associated::{Associated, Key};
use crate::eks::associations::visibility::Due;

/// The associations as one reader sees them, who sees each change some time after it was made.
#[derive(Debug, Default)]
pub(crate) struct View {
    known: BTreeMap<Key, Associated>,
    /// The changes that the reader does not see yet, in their order.
    pending: Vec<Change>,
    visibility: Visibility,
}

#[derive(Debug)]
struct Change {
    key: Key,
    now_is: Option<Associated>,
    due: Due,
}

impl View {
    pub(crate) fn new(visibility: Visibility) -> Self {
        Self {
            visibility,
            ..Self::default()
        }
    }

    /// Sets when changes become visible that are made from now on.
    pub(crate) fn set_visibility(&mut self, visibility: Visibility) {
        self.visibility = visibility;
    }

    /// Makes a change visible at once, in place of pending ones.
    pub(crate) fn put_now(&mut self, associated: Associated) {
        let key = associated.key();
        self.pending.retain(|change| change.key != key);
        self.known.insert(key, associated);
    }

    /// Removes an association at once. Returns whether there was one with this id.
    pub(crate) fn remove_now(&mut self, id: &str) -> bool {
        let is_it = |change: &Change| change.now_is.as_ref().is_some_and(|now| now.id == id);
        self.pending.retain(|change| !is_it(change));
        let before = self.known.len();
        self.known.retain(|_, associated| associated.id != id);
        self.known.len() < before
    }

    /// Makes a change visible when it is due.
    pub(crate) fn put_later(&mut self, key: Key, now_is: Option<Associated>, now: Timestamp) {
        let due = self.visibility.of_change_at(now);
        self.pending.push(Change { key, now_is, due });
    }

    /// Returns what the reader sees at this time.
    ///
    /// A change waits for those before it to the same service account, so that the reader sees them in the
    /// order in which they were made.
    pub(crate) fn at(&mut self, now: Timestamp) -> &BTreeMap<Key, Associated> {
        let mut waiting = BTreeSet::new();
        for change in mem::take(&mut self.pending) {
            if waiting.contains(&change.key) || !change.due.has_come(now) {
                waiting.insert(change.key.clone());
                self.pending.push(change);
            } else if let Some(associated) = change.now_is {
                self.known.insert(change.key, associated);
            } else {
                self.known.remove(&change.key);
            }
        }
        &self.known
    }
}
