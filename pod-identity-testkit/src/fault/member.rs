use std::collections::{BTreeMap, BTreeSet};

/// A member of a [`Fault`](crate::Fault), of which several can apply to one request.
pub(super) trait Member {
    /// Returns whether the member is set.
    fn is_set(&self) -> bool;

    /// Returns whether the two values exclude each other.
    fn overlaps(&self, other: &Self) -> bool;

    /// Takes the other value if this one is not set.
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

/// Each key counts as a member of its own.
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

/// Each value counts as a member of its own.
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
