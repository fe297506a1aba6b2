use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::iter;
use std::mem;
use std::sync::Mutex;

use pod_identity_core::{Secret, TokenDigest};
use tokio::sync::watch;

use crate::record::newest::Newest;
use crate::record::size;
use crate::sync::lock;

/// What a recorder keeps of a request.
pub(crate) trait Recorded: Clone {
    /// Whether the other one asks for the same thing.
    fn is_like(&self, other: &Self) -> bool;

    /// Sets how many requests like it wait for their answer, itself included.
    fn set_in_flight(&mut self, count: usize);

    /// Estimates the memory that it takes, in bytes.
    fn size(&self) -> usize;
}

/// Keeps what a mock has seen and wakes who waits for it.
#[derive(Debug)]
pub(crate) struct Recorder<R> {
    log: Mutex<Log<R>>,
    counts: watch::Sender<Counts>,
}

#[derive(Debug)]
struct Log<R> {
    requests: Newest<R>,
    /// How many have been forgotten because of the limit.
    forgotten: usize,
    /// The numbers of those in flight. One that has been forgotten meanwhile is here.
    waiting: BTreeMap<usize, Option<R>>,
    minted: Newest<String>,
    secrets: Newest<Secret>,
    /// The digests of the secrets: a client sends its token with every request.
    known: HashSet<TokenDigest>,
}

/// The requests that are kept, and how many older ones have been forgotten because of the limit.
#[derive(Debug)]
pub(crate) struct Kept<R> {
    pub(crate) requests: Vec<R>,
    pub(crate) forgotten: usize,
}

/// The counts of a mock's requests and connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) requests: usize,
    pub(crate) answers: usize,
    pub(crate) in_flight: usize,
    pub(crate) max_in_flight: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests over {} connections, {} answered, {} in flight",
            self.requests, self.connections, self.answers, self.in_flight
        )
    }
}

impl<R: Recorded> Recorder<R> {
    /// `limit`: the memory for the records, in bytes; the oldest are forgotten first. `None` keeps all.
    ///
    /// Secrets and access key ids have a quarter and a sixteenth of it besides. A secret that has been forgotten is no
    /// longer replaced in a record where it does not belong, unless it looks like one: that is done on arrival.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            log: Mutex::new(Log {
                requests: Newest::within(limit),
                forgotten: 0,
                waiting: BTreeMap::new(),
                minted: Newest::within(limit.map(|limit| limit / 16)),
                secrets: Newest::within(limit.map(|limit| limit / 4)),
                known: HashSet::new(),
            }),
            counts: watch::Sender::default(),
        }
    }

    /// Counts a connection and returns its number.
    pub(crate) fn connected(&self) -> u64 {
        let mut number = 0;
        self.counts.send_modify(|counts| {
            counts.connections += 1;
            number = counts.connections;
        });
        number
    }

    /// A request came: it is in flight until what this returns is dropped.
    pub(crate) fn arrived(&self, request: &mut R, token: Option<&Secret>) -> InFlight<'_, R> {
        let number = lock(&self.log).arrived(request, token);
        self.counts.send_modify(|counts| {
            counts.requests += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
        });
        InFlight {
            recorder: self,
            number,
        }
    }

    pub(crate) fn minted(&self, access_key_id: String, secrets: [Secret; 2]) {
        let mut log = lock(&self.log);
        let size = mem::size_of::<String>() + size::of_text(&access_key_id);
        log.minted.push(access_key_id, size);
        while log.minted.pop_excess().is_some() {}
        secrets
            .into_iter()
            .for_each(|secret| log.learn_secret(secret));
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) async fn wait_until(&self, enough: impl FnMut(&Counts) -> bool) {
        let seen = self.counts.subscribe().wait_for(enough).await.map(drop);
        seen.expect("a recorder must hold its own sender");
    }

    pub(crate) fn requests(&self) -> Vec<R> {
        lock(&self.log).requests.iter().cloned().collect()
    }

    pub(crate) fn kept(&self) -> Kept<R> {
        let log = lock(&self.log);
        Kept {
            requests: log.requests.iter().cloned().collect(),
            forgotten: log.forgotten,
        }
    }

    /// Returns how many have been forgotten because of the limit, since the requests were last dropped.
    pub(crate) fn forgotten(&self) -> usize {
        lock(&self.log).forgotten
    }

    /// Drops the requests so far, and returns how many have arrived since the start.
    pub(crate) fn clear(&self) -> usize {
        let mut log = lock(&self.log);
        while let Some((number, request)) = log.requests.pop() {
            log.set_aside(number, request);
        }
        log.forgotten = 0;
        log.requests.count()
    }

    pub(crate) fn access_keys(&self) -> Vec<String> {
        lock(&self.log).minted.iter().cloned().collect()
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        lock(&self.log).secrets.iter().cloned().collect()
    }
}

impl<R> Kept<R> {
    pub(crate) fn map<T>(self, to: impl FnMut(R) -> T) -> Kept<T> {
        Kept {
            requests: self.requests.into_iter().map(to).collect(),
            forgotten: self.forgotten,
        }
    }
}

impl<R: Recorded> Log<R> {
    /// Records a request and returns its number.
    fn arrived(&mut self, request: &mut R, token: Option<&Secret>) -> usize {
        let waiting = self.waiting.iter().filter_map(|(number, forgotten)| {
            let kept = || self.requests.get(*number);
            forgotten.as_ref().or_else(kept)
        });
        let alike = waiting.filter(|other| other.is_like(request)).count();
        request.set_in_flight(alike + 1);
        if let Some(token) = token {
            self.learn_secret(token.clone());
        }
        let number = self.requests.push(request.clone(), request.size());
        self.waiting.insert(number, None);
        self.forget_excess();
        number
    }

    fn forget_excess(&mut self) {
        while let Some((number, request)) = self.requests.pop_excess() {
            self.set_aside(number, request);
            self.forgotten += 1;
        }
    }

    /// Keeps a request that is forgotten as long as it is in flight.
    fn set_aside(&mut self, number: usize, request: R) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            *waiting = Some(request);
        }
    }

    fn learn_secret(&mut self, secret: Secret) {
        if !self.known.insert(digest(&secret)) {
            return;
        }
        let size = mem::size_of::<Secret>() + size::of_text(secret.expose());
        self.secrets.push(secret, size + DIGEST);
        for (_, forgotten) in iter::from_fn(|| self.secrets.pop_excess()) {
            self.known.remove(&digest(&forgotten));
        }
    }
}

fn digest(secret: &Secret) -> TokenDigest {
    TokenDigest::of(secret.expose().as_bytes())
}

/// What a digest takes in a set that may be half empty.
const DIGEST: usize = 80;

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct InFlight<'a, R> {
    recorder: &'a Recorder<R>,
    number: usize,
}

impl<R: Recorded> InFlight<'_, R> {
    /// Records that the request is answered; `record` has the outcome.
    pub(crate) fn answered(self, record: R) {
        {
            let mut log = lock(&self.recorder.log);
            let size = record.size();
            log.requests.replace(self.number, record, size);
            log.forget_excess();
        }
        self.recorder
            .counts
            .send_modify(|counts| counts.answers += 1);
    }
}

impl<R> Drop for InFlight<'_, R> {
    fn drop(&mut self) {
        lock(&self.recorder.log).waiting.remove(&self.number);
        self.recorder
            .counts
            .send_modify(|counts| counts.in_flight -= 1);
    }
}
