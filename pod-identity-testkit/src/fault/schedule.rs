use pod_identity_core::Timestamp;

use crate::fault::choice::{GateChoice, TokenChoice};
use crate::fault::fault::Fault;
use crate::fault::requester::Requester;
use crate::fault::requests::Requests;
use crate::http::gate::Gate;
use crate::http::gates::Gates;

/// The requests that a fault still applies to.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// How many requests to let pass first.
    skip: usize,
    /// `None` for every request.
    left: Option<usize>,
    pod: Option<String>,
    token: Option<TokenChoice>,
    begins: Timestamp,
    ends: Option<Timestamp>,
    until: Option<Gate>,
}

impl Schedule {
    /// `after` and `lasting` are counted from `from`.
    pub(crate) fn new(fault: &Fault, from: Timestamp, gates: &Gates) -> Self {
        let requests = fault.requests().expect("a fault must have been checked");
        let begins = from + fault.after.map(|time| time.0).unwrap_or_default();
        Self {
            skip: match requests {
                Requests::Nth(n) => n - 1,
                Requests::Next(_) | Requests::Always => 0,
            },
            left: match requests {
                Requests::Next(count) => Some(count),
                Requests::Nth(_) => Some(1),
                Requests::Always => None,
            },
            pod: fault.pod.clone(),
            token: fault.token,
            begins,
            ends: fault.lasting.map(|time| begins + time.0),
            until: fault.until.as_ref().map(|until| match until {
                GateChoice::Named(name) => gates.named(name),
                GateChoice::Gate(gate) => gate.clone(),
            }),
        }
    }

    /// Returns the gate that ends the fault.
    pub(super) fn until(&self) -> Option<&Gate> {
        self.until.as_ref()
    }

    /// For how many requests it still is; `None` for every one.
    pub(super) fn left(&self) -> Option<usize> {
        self.left
    }

    /// Whether it matches no request from now on.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.left == Some(0)
            || self.ends.is_some_and(|ends| now >= ends)
            || self.until.as_ref().is_some_and(Gate::is_released)
    }

    /// Returns whether the fault applies to every request, rather than being queued.
    pub(super) fn is_persistent(&self) -> bool {
        self.left.is_none()
    }

    /// Counts a request of this requester, and returns whether the fault applies to it.
    pub(super) fn matches(&mut self, now: Timestamp, requester: Requester<'_>) -> bool {
        if now < self.begins || !self.is_for(requester) {
            return false;
        }
        match self.skip.checked_sub(1) {
            Some(skip) => {
                self.skip = skip;
                false
            }
            None => true,
        }
    }

    pub(super) fn use_up(&mut self) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
    }

    fn is_for(&self, requester: Requester<'_>) -> bool {
        let has_token = match self.token {
            None => true,
            Some(TokenChoice::Age(age)) => requester.token_age == Some(age),
            Some(TokenChoice::Digest(digest)) => requester.token == Some(digest),
        };
        has_token && (self.pod.is_none() || self.pod.as_deref() == requester.pod)
    }
}
