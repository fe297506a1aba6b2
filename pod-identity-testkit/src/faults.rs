use std::future::{self, Future};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::answer::{Answer, bare, json};
use crate::sync::lock;
use crate::{Fault, RecordedRequest};

/// The faults that wait for requests.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
    /// Counts the clearings, so that whoever hangs learns of the next one.
    cleared: watch::Sender<u64>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    /// How many requests it is still for; `None` is all of them.
    left: Option<usize>,
}

/// What the faults of one request have come to.
#[derive(Debug)]
pub(crate) enum Played {
    /// The connection is to be closed without an answer.
    Closed,
    /// This is the answer.
    Answered(Answer),
    /// The service answers, with these changes.
    Passed(Changes),
}

/// Changes to a success.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) expires_in: Option<Duration>,
    pub(crate) without: Option<&'static str>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            rules: Mutex::default(),
            cleared: watch::Sender::new(0),
        }
    }

    pub(crate) fn next(&self, count: usize, fault: Fault) {
        self.push(fault, Some(count));
    }

    pub(crate) fn always(&self, fault: Fault) {
        self.push(fault, None);
    }

    fn push(&self, fault: Fault, left: Option<usize>) {
        lock(&self.rules).push(Rule { fault, left });
    }

    pub(crate) fn clear(&self) {
        lock(&self.rules).clear();
        self.cleared.send_modify(|count| *count += 1);
    }

    /// Plays the faults of one request, which it takes at the first poll.
    pub(crate) async fn play(&self, request: &RecordedRequest) -> Played {
        let mut cleared = self.cleared.subscribe();
        let mut changes = Changes::default();
        for fault in self.take() {
            match fault {
                Fault::Error(error) => return Played::Answered(error.answer()),
                Fault::Status(status, body) => return Played::Answered(bare(status, body)),
                Fault::Malformed(body) => return Played::Answered(json(200, body)),
                Fault::Respond(closure) => return Played::Answered(closure.answer(request)),
                Fault::Reset => return Played::Closed,
                Fault::Hang => first(future::pending(), &mut cleared).await,
                Fault::Latency(latency) => first(tokio::time::sleep(latency), &mut cleared).await,
                Fault::Gate(gate) => first(gate.pass(), &mut cleared).await,
                Fault::ExpiresIn(lifetime) => changes.expires_in = Some(lifetime),
                Fault::Without(member) => changes.without = Some(member),
            }
        }
        Played::Passed(changes)
    }

    /// The faults of the next request: those that answer come last.
    fn take(&self) -> Vec<Fault> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| !rule.fault.is_spent() && rule.left != Some(0));
        let mut taken: Vec<Fault> = Vec::new();
        for rule in rules.iter_mut() {
            let Some(left) = &mut rule.left else { continue };
            if taken.iter().any(|fault| fault.is_like(&rule.fault)) {
                continue;
            }
            *left -= 1;
            taken.push(rule.fault.clone());
            if rule.fault.answers() {
                break;
            }
        }
        for rule in rules.iter().filter(|rule| rule.left.is_none()) {
            let stands_for = |fault: &Fault| {
                fault.is_like(&rule.fault) || (fault.answers() && rule.fault.answers())
            };
            if !taken.iter().any(stands_for) {
                taken.push(rule.fault.clone());
            }
        }
        taken.sort_by_key(Fault::answers);
        taken
    }
}

/// Waits for the wait to end, or for the faults to be cleared.
async fn first(wait: impl Future<Output = ()>, cleared: &mut watch::Receiver<u64>) {
    tokio::select! {
        () = wait => {}
        _ = cleared.changed() => {}
    }
}
