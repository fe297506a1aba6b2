use std::collections::VecDeque;

/// The newest of many values, within a limit of memory: the oldest are forgotten first. The values are numbered from 0
/// in the order in which they came, and keep their numbers.
#[derive(Debug)]
pub(crate) struct Newest<T> {
    /// Each with its size.
    kept: VecDeque<(T, usize)>,
    /// The sum of the sizes.
    bytes: usize,
    limit: Option<usize>,
    /// The number of the first that is kept.
    first: usize,
}

impl<T> Newest<T> {
    /// `limit`: of all sizes together. The last value is kept even if it alone is larger. `None` keeps all.
    pub(crate) const fn within(limit: Option<usize>) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            limit,
            first: 0,
        }
    }

    /// Adds a value of this size and returns its number.
    pub(crate) fn push(&mut self, value: T, size: usize) -> usize {
        self.kept.push_back((value, size));
        self.bytes += size;
        self.first + self.kept.len() - 1
    }

    /// Replaces the value of a number, if it is still kept.
    pub(crate) fn replace(&mut self, number: usize, value: T, size: usize) {
        let index = number.checked_sub(self.first);
        if let Some(entry) = index.and_then(|index| self.kept.get_mut(index)) {
            self.bytes = self.bytes - entry.1 + size;
            *entry = (value, size);
        }
    }

    /// Takes out the oldest with its number, if the limit is exceeded.
    pub(crate) fn pop_excess(&mut self) -> Option<(usize, T)> {
        let is_too_much = self.limit.is_some_and(|limit| self.bytes > limit);
        match is_too_much && self.kept.len() > 1 {
            true => self.pop(),
            false => None,
        }
    }

    /// Takes out the oldest with its number.
    pub(crate) fn pop(&mut self) -> Option<(usize, T)> {
        let (value, size) = self.kept.pop_front()?;
        self.bytes -= size;
        self.first += 1;
        // A deque does not shrink by itself, and a test may have filled it once.
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
        Some((self.first - 1, value))
    }

    /// Drops all but those. The others are numbered anew.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        let before = self.kept.len();
        self.kept.retain(|(value, _)| is_kept(value));
        self.first += before - self.kept.len();
        self.bytes = self.kept.iter().map(|(_, size)| size).sum();
        self.kept.shrink_to_fit();
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        let index = number.checked_sub(self.first)?;
        self.kept.get(index).map(|(value, _)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter().map(|(value, _)| value)
    }

    /// How many have come, kept or not.
    pub(crate) fn count(&self) -> usize {
        self.first + self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(newest: &mut Newest<&'static str>, value: &'static str) -> Vec<(usize, &'static str)> {
        newest.push(value, value.len());
        std::iter::from_fn(|| newest.pop_excess()).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_and_numbers_stay() {
        let mut newest = Newest::within(Some(5));
        assert_eq!(add(&mut newest, "aaa"), []);
        assert_eq!(add(&mut newest, "bb"), []);
        assert_eq!(add(&mut newest, "cc"), [(0, "aaa")]);
        assert_eq!((newest.get(0), newest.get(2)), (None, Some(&"cc")));
        assert_eq!(add(&mut newest, "longer"), [(1, "bb"), (2, "cc")]);
        assert_eq!(newest.iter().collect::<Vec<_>>(), [&"longer"], "the last");
        assert_eq!(newest.count(), 4);
    }

    #[test]
    fn a_replacement_counts_with_its_own_size() {
        let mut newest = Newest::within(Some(5));
        add(&mut newest, "a");
        add(&mut newest, "b");
        newest.replace(1, "bbbbb", 5);
        assert_eq!(newest.pop_excess(), Some((0, "a")));
        newest.replace(0, "gone", 4);
        assert_eq!((newest.pop_excess(), newest.get(1)), (None, Some(&"bbbbb")));
    }

    #[test]
    fn without_a_limit_all_are_kept() {
        let mut newest = Newest::within(None);
        (0..1000).for_each(|_| assert_eq!(add(&mut newest, "aaa"), []));
        assert_eq!(newest.iter().count(), 1000);
    }
}
