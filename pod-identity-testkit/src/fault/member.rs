use std::collections::{BTreeMap, BTreeSet};

/// What a member of a [`Fault`](crate::Fault) has to be, so that several faults can meet one request.
pub(super) trait Member {
    /// Whether it says anything.
    fn is_set(&self) -> bool;

    /// Whether one request has no use for both.
    fn overlaps(&self, other: &Self) -> bool;

    /// Takes over what this one does not say.
    fn absorb(&mut self, other: Self);
}

impl<T> Member for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.is_some() && other.is_some()
    }

    fn absorb(&mut self, other: Self) {
        if self.is_none() {
            *self = other;
        }
    }
}

impl Member for bool {
    fn is_set(&self) -> bool {
        *self
    }

    fn overlaps(&self, other: &Self) -> bool {
        *self && *other
    }

    fn absorb(&mut self, other: Self) {
        *self |= other;
    }
}

/// Each key is a member of its own.
impl<K: Ord, V> Member for BTreeMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.keys().any(|key| other.contains_key(key))
    }

    fn absorb(&mut self, other: Self) {
        for (key, value) in other {
            self.entry(key).or_insert(value);
        }
    }
}

/// Each value is a member of its own.
impl<T: Ord> Member for BTreeSet<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }

    fn overlaps(&self, other: &Self) -> bool {
        !self.is_disjoint(other)
    }

    fn absorb(&mut self, other: Self) {
        self.extend(other);
    }
}
