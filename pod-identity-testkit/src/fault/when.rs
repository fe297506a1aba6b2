use std::time::Duration;

use pod_identity_core::{Timestamp, TokenDigest};

use crate::Gate;
use crate::fault::queue::Asker;

/// Which requests a fault is for.
///
/// The conditions add up: a fault for the next two requests with one token is neither used up nor
/// seen by requests with another. One that is for [`always`](Self::always) stands; the others queue.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_testkit::{Gate, When};
///
/// let third = When::nth(3);
/// let hour = Duration::from_secs(3600);
/// let outage_in_an_hour = When::always().after(hour).lasting(2 * hour);
/// let back = Gate::new();
/// let of_one_pod = When::always().token("header.claims.signature").until(&back);
/// # let _ = (third, outage_in_an_hour, of_one_pod);
/// ```
#[derive(Debug, Clone)]
#[must_use = "it says when, not what"]
pub struct When {
    skip: usize,
    left: Option<usize>,
    token: Option<TokenDigest>,
    token_age: Option<usize>,
    pod: Option<String>,
    after: Duration,
    lasting: Option<Duration>,
    until: Option<Gate>,
}

impl When {
    /// The next request.
    pub fn once() -> Self {
        Self::next(1)
    }

    /// So many requests, the next ones that no fault ahead in the queue takes.
    pub fn next(count: usize) -> Self {
        Self {
            left: Some(count),
            ..Self::always()
        }
    }

    /// The request that is the `n`th from now on, counted from 1.
    pub fn nth(n: usize) -> Self {
        Self {
            skip: n.saturating_sub(1),
            ..Self::once()
        }
    }

    /// Every request, until the faults are cleared.
    pub fn always() -> Self {
        Self {
            skip: 0,
            left: None,
            token: None,
            token_age: None,
            pod: None,
            after: Duration::ZERO,
            lasting: None,
            until: None,
        }
    }

    /// Only requests with this token; only those are counted.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(TokenDigest::of(token.as_bytes()));
        self
    }

    /// Only requests with the token that is so old in the mock's own volume: 0 for the current one, 1 for
    /// the one before it. [`MockEksAuth`](crate::MockEksAuth) has no volume, and no such request.
    pub fn token_age(mut self, age: usize) -> Self {
        self.token_age = Some(age);
        self
    }

    /// Only requests with a token of the pod with this name.
    pub fn pod(mut self, name: impl Into<String>) -> Self {
        self.pod = Some(name.into());
        self
    }

    /// Only from so long after the injection on, by the mock's clock; what comes before is not counted.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    /// Only for so long by the mock's clock, from the injection on, or from when [`after`](Self::after)
    /// says.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.lasting = Some(duration);
        self
    }

    /// Only until the gate is released.
    pub fn until(mut self, gate: &Gate) -> Self {
        self.until = Some(gate.clone());
        self
    }

    fn is_for(&self, asker: Asker<'_>) -> bool {
        let is_this_pod = |pod: &String| asker.pod == Some(pod);
        (self.token.is_none() || self.token == asker.token)
            && (self.token_age.is_none() || self.token_age == asker.token_age)
            && self.pod.as_ref().is_none_or(is_this_pod)
    }

    pub(crate) fn from(self, now: Timestamp) -> Schedule {
        let begins = now + self.after;
        Schedule {
            begins,
            ends: self.lasting.map(|duration| begins + duration),
            when: self,
        }
    }
}

/// A [`When`] with its times.
#[derive(Debug)]
pub(crate) struct Schedule {
    when: When,
    begins: Timestamp,
    ends: Option<Timestamp>,
}

impl Schedule {
    /// Whether no request to come is meant.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.when.left == Some(0)
            || self.ends.is_some_and(|ends| now >= ends)
            || self.when.until.as_ref().is_some_and(Gate::is_released)
    }

    /// Whether it is for every request, rather than queued.
    pub(crate) fn stands(&self) -> bool {
        self.when.left.is_none()
    }

    /// Counts a request of this asker, and tells whether it is meant.
    pub(crate) fn comes_due(&mut self, now: Timestamp, asker: Asker<'_>) -> bool {
        if now < self.begins || !self.when.is_for(asker) {
            return false;
        }
        match self.when.skip.checked_sub(1) {
            Some(skip) => {
                self.when.skip = skip;
                false
            }
            None => true,
        }
    }

    pub(crate) fn use_up(&mut self) {
        if let Some(left) = &mut self.when.left {
            *left = left.saturating_sub(1);
        }
    }
}
