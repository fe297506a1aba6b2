//! The same for a cache.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{
    Asked, CacheAttempt, CacheLimits, Credentials, Expiring, Found, RefreshPolicy, SlotCache,
    Ticket, Timestamp,
};

use super::{Error, Fetched, START, set};

pub(crate) struct Request(pub(crate) Timestamp);

impl Expiring for Request {
    fn expiration(&self) -> Timestamp {
        self.0
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Ready(String),
    Wait,
    Full,
}

type Service<K> = Box<dyn FnMut(K, Timestamp) -> Fetched>;
type Cache<K> = SlotCache<K, Request, Credentials, Error>;

pub(crate) struct CacheDriver<K> {
    pub(crate) cache: Cache<K>,
    pub(crate) now: Timestamp,
    pub(crate) started: Vec<(Timestamp, K)>,
    pub(crate) open: VecDeque<CacheAttempt<K>>,
    /// Until when a request is good.
    pub(crate) end: Timestamp,
    /// How many attempts may be open at a time.
    pub(crate) at_once: usize,
    waiting: Vec<(K, Ticket)>,
    /// What those who waited were told, in order.
    pub(crate) told: Vec<(K, Result<String, Error>)>,
    service: Option<Service<K>>,
}

pub(crate) fn source(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

impl<K: Copy + Ord + Hash + std::fmt::Debug> CacheDriver<K> {
    pub(crate) fn new(policy: RefreshPolicy, limits: CacheLimits) -> Self {
        Self {
            cache: SlotCache::new(Arc::new(policy), limits, 7),
            now: START,
            started: Vec::new(),
            open: VecDeque::new(),
            end: Timestamp::MAX,
            at_once: usize::MAX,
            waiting: Vec::new(),
            told: Vec::new(),
            service: None,
        }
    }

    /// From here on each attempt is answered at once.
    pub(crate) fn serve(&mut self, service: impl FnMut(K, Timestamp) -> Fetched + 'static) {
        self.service = Some(Box::new(service));
    }

    /// From here on each attempt brings a set that lives as long as this.
    pub(crate) fn mint(&mut self, lifetime: Duration) {
        self.serve(move |key, now| Ok(set(&format!("{key:?}"), now + lifetime)));
    }

    /// From here on attempts stay open until [`answer`](Self::answer).
    pub(crate) fn hold_back(&mut self) {
        self.service = None;
    }

    pub(crate) fn ask(&mut self, key: K) -> Answer {
        self.ask_from(source(0), key)
    }

    pub(crate) fn ask_from(&mut self, source: IpAddr, key: K) -> Answer {
        let end = self.end;
        let found = self.find(key);
        let answer = match self.cache.ask(self.now, key, source, || Request(end)) {
            Asked::Ready(held) => Answer::Ready(held.access_key_id().to_owned()),
            Asked::Pending(ticket) => {
                self.waiting.push((key, ticket));
                Answer::Wait
            }
            Asked::Full => Answer::Full,
        };
        if let Some(found) = found {
            assert_eq!(
                found, answer,
                "what is found is what an ask is answered with"
            );
        }
        self.drain();
        answer
    }

    /// The answer for a key, where it takes no new fetch.
    pub(crate) fn find(&mut self, key: K) -> Option<Answer> {
        self.cache
            .find(self.now, key, |_request, found| match found {
                Found::Ready(held) | Found::Overdue(held) => {
                    Some(Answer::Ready(held.access_key_id().to_owned()))
                }
                Found::Pending(_) => Some(Answer::Wait),
                Found::Idle => None,
            })?
    }

    /// Answers an attempt; whether that was taken.
    pub(crate) fn answer(&mut self, attempt: CacheAttempt<K>, fetched: Fetched) -> bool {
        let taken = self.cache.handle_fetched(attempt, self.now, fetched);
        self.drain();
        taken
    }

    /// Those who wait are told, then wanted fetches are started.
    pub(crate) fn drain(&mut self) {
        self.tell();
        while self.open.len() < self.at_once
            && let Some((attempt, _)) = self.cache.poll_fetch(self.now, |_any| true)
        {
            self.started.push((self.now, attempt.key()));
            match &mut self.service {
                Some(service) => {
                    let fetched = service(attempt.key(), self.now);
                    self.cache.handle_fetched(attempt, self.now, fetched);
                    self.tell();
                }
                None => self.open.push_back(attempt),
            }
        }
    }

    /// The time is looked at once.
    pub(crate) fn look_at(&mut self, now: Timestamp) {
        self.now = now;
        self.cache.handle_timeout(now);
        self.drain();
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut standing = 0;
        while let Some(next) = self.cache.poll_timeout().filter(|next| *next <= end) {
            standing = if next > self.now { 0 } else { standing + 1 };
            assert!(standing < 20, "busy loop at {}", self.now);
            self.look_at(self.now.max(next));
        }
        self.now = end;
    }

    pub(crate) fn is_held(&self, key: K) -> bool {
        let slot = self.cache.peek(&key);
        slot.is_some_and(|slot| slot.held().is_some())
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn tell(&mut self) {
        let (cache, told) = (&self.cache, &mut self.told);
        self.waiting.retain(|(key, ticket)| {
            let outcome = cache.outcome(key, *ticket);
            if let Some(outcome) = outcome {
                let owned = outcome.map(|set| set.access_key_id().to_owned());
                told.push((*key, owned.map_err(Clone::clone)));
            }
            outcome.is_none() && cache.peek(key).is_some()
        });
    }
}
