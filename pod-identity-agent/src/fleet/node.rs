use std::sync::Arc;

use pod_identity_core::wire::agent::decode;
use pod_identity_core::{Failure, ServiceAccountToken, Timestamp};
use tokio::sync::Notify;

use super::pod::{Pod, token};
use crate::credentials::cache::{LONGEST_SLEEP, MAX_IN_FLIGHT, SHORTEST_SLEEP};
use crate::credentials::entry::Entry;
use crate::credentials::settings::Settings;
use crate::credentials::state::{Lookup, Pending, Running, State};
use crate::eks_auth::subject::Subject;
use crate::{EksAuthError, Session};

/// A node with this agent's state, driven as its driver drives it.
pub(super) struct Node {
    state: State,
    in_flight: usize,
    waiting: Vec<(usize, Pending)>,
}

/// What a pod is told.
pub(super) enum Answer {
    /// Credentials that expire then.
    Credentials(Timestamp),
    /// The answer comes later.
    Later,
    Failure,
}

impl Node {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: State::new(&Settings::new(seed), Arc::new(Notify::new())),
            in_flight: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, now: Timestamp, number: usize, pod: &Pod) -> Answer {
        let found = match self.state.look_up(now, pod.digest) {
            Ok(None) => {
                let token = ServiceAccountToken::parse(&token(number));
                let token = token.expect("a token of a pod must be well-formed");
                self.state
                    .begin(now, pod.digest, pod.address, &token)
                    .map(Some)
            }
            found => found,
        };
        match found {
            Ok(Some(Lookup::Ready(body))) => Answer::Credentials(expires(&body)),
            Ok(Some(Lookup::Pending(pending))) => {
                self.waiting.push((number, pending));
                Answer::Later
            }
            Ok(None) | Err(_) => Answer::Failure,
        }
    }

    /// The pod has hung up, or has been answered 503.
    pub(super) fn give_up(&mut self, number: usize) {
        self.waiting.retain(|(waiting, _)| *waiting != number);
    }

    /// The next exchange to start, if there is one.
    pub(super) fn poll_fetch(&mut self, now: Timestamp) -> Option<(Running, Subject)> {
        self.state.handle_timeout(now);
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let (running, input) = self.state.poll_fetch(now)?;
        self.in_flight += 1;
        Some((running, input.subject))
    }

    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        (running, subject): &(Running, Subject),
        result: Result<Session, Failure<EksAuthError>>,
    ) {
        self.in_flight -= 1;
        let result = result.map(|session| Entry::new(&session, subject));
        self.state.finish(running, now, result);
    }

    /// Those whose answer has come.
    pub(super) fn answers(&mut self) -> Vec<(usize, Answer)> {
        let settled = |(_, pending): &mut (usize, Pending)| pending.outcome.borrow().is_some();
        self.waiting
            .extract_if(.., settled)
            .map(|(number, pending)| match &*pending.outcome.borrow() {
                Some(Ok(body)) => (number, Answer::Credentials(expires(body))),
                _ => (number, Answer::Failure),
            })
            .collect()
    }

    /// When to poll again.
    pub(super) fn wakes(&mut self, now: Timestamp) -> Timestamp {
        let has_place = self.in_flight < MAX_IN_FLIGHT;
        let next = self
            .state
            .poll_timeout(now, has_place)
            .unwrap_or(Timestamp::MAX);
        next.clamp(now + SHORTEST_SLEEP, now + LONGEST_SLEEP)
    }
}

fn expires(body: &[u8]) -> Timestamp {
    decode(body, None)
        .expect("an agent must answer with credentials")
        .expiration()
}
