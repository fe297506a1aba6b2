use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;

use pod_identity_core::Secret;
use tokio::sync::watch;

use crate::sync::lock;

/// What a recorder keeps of a request.
pub(crate) trait Recorded: Clone {
    /// Whether the other one asks for the same thing.
    fn is_like(&self, other: &Self) -> bool;

    /// Sets how many requests like it wait for their answer, itself included.
    fn set_in_flight(&mut self, count: usize);
}

/// Keeps what a mock has seen and wakes who waits for it.
#[derive(Debug)]
pub(crate) struct Recorder<R> {
    log: Mutex<Log<R>>,
    counts: watch::Sender<Counts>,
}

#[derive(Debug)]
struct Log<R> {
    requests: Vec<R>,
    /// The indices of those in flight.
    waiting: BTreeSet<usize>,
    minted: Vec<String>,
    secrets: Vec<Secret>,
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
    pub(crate) fn new() -> Self {
        Self {
            log: Mutex::new(Log {
                requests: Vec::new(),
                waiting: BTreeSet::new(),
                minted: Vec::new(),
                secrets: Vec::new(),
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
        let index = {
            let mut log = lock(&self.log);
            let waiting = log
                .waiting
                .iter()
                .filter_map(|index| log.requests.get(*index));
            let alike = waiting.filter(|other| other.is_like(request)).count();
            request.set_in_flight(alike + 1);
            log.secrets.extend(token.cloned());
            let index = log.requests.len();
            log.requests.push(request.clone());
            log.waiting.insert(index);
            index
        };
        self.counts.send_modify(|counts| {
            counts.requests += 1;
            counts.in_flight += 1;
            counts.max_in_flight = counts.max_in_flight.max(counts.in_flight);
        });
        InFlight {
            recorder: self,
            index,
        }
    }

    pub(crate) fn minted(&self, access_key_id: String, secrets: [Secret; 2]) {
        let mut log = lock(&self.log);
        log.minted.push(access_key_id);
        log.secrets.extend(secrets);
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) async fn wait_until(&self, enough: impl FnMut(&Counts) -> bool) {
        let seen = self.counts.subscribe().wait_for(enough).await.map(drop);
        seen.expect("a recorder must hold its own sender");
    }

    pub(crate) fn requests(&self) -> Vec<R> {
        lock(&self.log).requests.clone()
    }

    pub(crate) fn access_keys(&self) -> Vec<String> {
        lock(&self.log).minted.clone()
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        lock(&self.log).secrets.clone()
    }
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct InFlight<'a, R> {
    recorder: &'a Recorder<R>,
    index: usize,
}

impl<R> InFlight<'_, R> {
    /// Records that the request is answered; `record` has the outcome.
    pub(crate) fn answered(self, record: R) {
        if let Some(request) = lock(&self.recorder.log).requests.get_mut(self.index) {
            *request = record;
        }
        self.recorder
            .counts
            .send_modify(|counts| counts.answers += 1);
    }
}

impl<R> Drop for InFlight<'_, R> {
    fn drop(&mut self) {
        lock(&self.recorder.log).waiting.remove(&self.index);
        self.recorder
            .counts
            .send_modify(|counts| counts.in_flight -= 1);
    }
}
