//! A driver in virtual time: it keeps a slot's contract with a scripted service instead of a network.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[cfg(feature = "cache")]
pub(crate) mod cache;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{
    Ask, Attempt, Credentials, Failure, FailureClass, RefreshPolicy, Secret, Slot, SlotError,
    Ticket, Timestamp,
};

pub(crate) const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Error {
    Service(FailureClass),
    Slot(SlotError),
}

impl From<SlotError> for Error {
    fn from(error: SlotError) -> Self {
        Self::Slot(error)
    }
}

pub(crate) type Fetched = Result<Credentials, Failure<Error>>;

pub(crate) fn set(key: &str, expires: Timestamp) -> Credentials {
    let secret = || Secret::from("secret".to_owned());
    Credentials::new(key, secret(), secret(), expires)
}

pub(crate) fn failure(class: FailureClass) -> Failure<Error> {
    Failure::new(class, Error::Service(class))
}

/// What an ask came to: the access key id, or the claim to one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Ready(String),
    Wait(Ticket),
}

type Service = Box<dyn FnMut(Timestamp) -> (Duration, Fetched)>;

pub(crate) struct Driver {
    pub(crate) slot: Slot<Credentials, Error>,
    pub(crate) now: Timestamp,
    /// When each attempt was started.
    pub(crate) started: Vec<Timestamp>,
    /// Attempts that nobody has answered yet.
    pub(crate) open: VecDeque<Attempt>,
    service: Option<Service>,
    arriving: VecDeque<(Timestamp, Attempt, Fetched)>,
}

impl Driver {
    /// Attempts stay open until [`answer`](Self::answer).
    pub(crate) fn new(policy: RefreshPolicy) -> Self {
        Self::seeded(policy, 7)
    }

    pub(crate) fn seeded(policy: RefreshPolicy, seed: u64) -> Self {
        Self::of(Slot::new(Arc::new(policy), seed))
    }

    pub(crate) fn of(slot: Slot<Credentials, Error>) -> Self {
        Self {
            slot,
            now: START,
            started: Vec::new(),
            open: VecDeque::new(),
            service: None,
            arriving: VecDeque::new(),
        }
    }

    /// A driver whose slot holds `key`, fetched at the start.
    pub(crate) fn holding(policy: RefreshPolicy, key: &str, lifetime: Duration) -> Self {
        let mut driver = Self::new(policy);
        driver.ask();
        driver.answer(Ok(set(key, START + lifetime)));
        driver
    }

    /// From here on each attempt is answered by `service`, after the time that it says.
    pub(crate) fn serve(
        &mut self,
        mut service: impl FnMut(Timestamp) -> (Duration, Fetched) + 'static,
    ) {
        while let Some(attempt) = self.open.pop_front() {
            let (after, fetched) = service(self.now);
            self.arriving
                .push_back((self.now + after, attempt, fetched));
        }
        self.service = Some(Box::new(service));
    }

    /// From here on each attempt fails at once.
    pub(crate) fn fail(&mut self, class: FailureClass) {
        self.serve(move |_now| (Duration::ZERO, Err(failure(class))));
    }

    pub(crate) fn ask(&mut self) -> Answer {
        let answer = match self.slot.ask(self.now) {
            Ask::Ready(held) => Answer::Ready(held.access_key_id().to_owned()),
            Ask::Pending(ticket) => Answer::Wait(ticket),
        };
        self.drain();
        answer
    }

    /// Asks, and must be told to wait.
    pub(crate) fn wait(&mut self) -> Ticket {
        match self.ask() {
            Answer::Wait(ticket) => ticket,
            Answer::Ready(key) => panic!("{key} was handed out"),
        }
    }

    pub(crate) fn outcome(&self, ticket: Ticket) -> Option<Result<&str, &Error>> {
        let outcome = self.slot.outcome(ticket)?;
        Some(outcome.map(Credentials::access_key_id))
    }

    /// Answers the attempt that has been open longest.
    pub(crate) fn answer(&mut self, fetched: Fetched) {
        let attempt = self.open.pop_front().expect("an attempt must be open");
        assert!(self.slot.handle_fetched(attempt, self.now, fetched));
        self.drain();
    }

    /// Lives through this much time, one event after the other.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut standing = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            standing = if next > self.now { 0 } else { standing + 1 };
            assert!(
                standing < 20,
                "busy loop at {} with {:?}",
                self.now,
                self.slot
            );
            self.now = self.now.max(next);
            self.handle_event();
        }
        self.now = end;
    }

    /// Runs until the ticket has an outcome; returns how long that took.
    pub(crate) fn run_until_settled(&mut self, ticket: Ticket) -> Duration {
        let since = self.now;
        while self.outcome(ticket).is_none() {
            let next = self
                .next_event()
                .expect("whoever waits must have an end to it");
            self.now = self.now.max(next);
            self.handle_event();
        }
        self.now.saturating_since(since)
    }

    /// The wall clock is stepped, and looked at.
    pub(crate) fn step_to(&mut self, now: Timestamp) {
        self.now = now;
        self.slot.handle_timeout(now);
        self.drain();
    }

    /// The times between the attempts since the `first`-th.
    pub(crate) fn pauses(&self, first: usize) -> Vec<Duration> {
        let started = self.started.get(first..).unwrap_or_default();
        let pairs = started.iter().zip(started.iter().skip(1));
        pairs.map(|(a, b)| b.saturating_since(*a)).collect()
    }

    fn next_event(&self) -> Option<Timestamp> {
        let arrival = self.arriving.iter().map(|(at, ..)| *at).min();
        [arrival, self.slot.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_event(&mut self) {
        let arrived = self.arriving.iter().position(|(at, ..)| *at <= self.now);
        if let Some((_, attempt, fetched)) = arrived.and_then(|at| self.arriving.remove(at)) {
            self.slot.handle_fetched(attempt, self.now, fetched);
        } else {
            self.slot.handle_timeout(self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(attempt) = self.slot.poll_fetch(self.now) {
            self.started.push(self.now);
            match &mut self.service {
                Some(service) => {
                    let (after, fetched) = service(self.now);
                    let arrival = self.now + after.min(attempt.timeout());
                    let fetched = if after < attempt.timeout() {
                        fetched
                    } else {
                        Err(failure(FailureClass::Transient))
                    };
                    self.arriving.push_back((arrival, attempt, fetched));
                }
                None => self.open.push_back(attempt),
            }
        }
    }
}

/// A service that mints a new set each time, which lives for `lifetime` and takes 100 ms to come.
pub(crate) fn minting(
    lifetime: Duration,
) -> impl FnMut(Timestamp) -> (Duration, Fetched) + 'static {
    let mut minted = 0;
    move |now| {
        minted += 1;
        let expires = now + millis(100) + lifetime;
        (millis(100), Ok(set(&format!("ASIA{minted}"), expires)))
    }
}
