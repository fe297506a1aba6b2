use std::time::Duration;

use pod_identity_core::{Timestamp, TokenDigest};

use crate::Gate;

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
/// let outage = When::always().lasting(Duration::from_secs(7200));
/// let back = Gate::new();
/// let of_one_pod = When::always().token("header.claims.signature").until(&back);
/// # let _ = (third, outage, of_one_pod);
/// ```
#[derive(Debug, Clone)]
#[must_use = "it says when, not what"]
pub struct When {
    after: usize,
    left: Option<usize>,
    token: Option<TokenDigest>,
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
            after: n.saturating_sub(1),
            ..Self::once()
        }
    }

    /// Every request, until the faults are cleared.
    pub fn always() -> Self {
        Self {
            after: 0,
            left: None,
            token: None,
            lasting: None,
            until: None,
        }
    }

    /// Only requests with this token; only those are counted.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(TokenDigest::of(token.as_bytes()));
        self
    }

    /// Only for so long by the mock's clock, from the injection on.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.lasting = Some(duration);
        self
    }

    /// Only until the gate is released.
    pub fn until(mut self, gate: &Gate) -> Self {
        self.until = Some(gate.clone());
        self
    }

    pub(crate) fn from(self, now: Timestamp) -> Schedule {
        Schedule {
            ends: self.lasting.map(|duration| now + duration),
            when: self,
        }
    }
}

/// A [`When`] that has begun.
#[derive(Debug)]
pub(crate) struct Schedule {
    when: When,
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

    /// Counts a request with this token, and tells whether it is meant.
    pub(crate) fn comes_due(&mut self, token: Option<TokenDigest>) -> bool {
        if self.when.token.is_some() && self.when.token != token {
            return false;
        }
        match self.when.after.checked_sub(1) {
            Some(after) => {
                self.when.after = after;
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
