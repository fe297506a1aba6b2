use std::sync::Mutex;

use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};
use tokio::sync::watch;

use crate::When;
use crate::fault::when::Schedule;
#[cfg(feature = "scenario")]
use crate::http::gates::Gates;
use crate::sync::lock;

/// What can be injected into a mock.
pub(crate) trait Injected: Clone {
    /// Whether nothing comes after it.
    fn answers(&self) -> bool;

    /// Whether one request has no use for both.
    fn is_like(&self, other: &Self) -> bool;

    /// Whether it has no effect any more.
    fn is_spent(&self) -> bool;
}

/// The faults that wait for requests.
#[derive(Debug)]
pub(crate) struct Faults<F> {
    rules: Mutex<Vec<Rule<F>>>,
    /// Counts the clearings, so that whoever hangs learns of the next one.
    cleared: watch::Sender<u64>,
    /// Those that faults wait at and whose names are known outside.
    #[cfg(feature = "scenario")]
    pub(crate) gates: Gates,
}

/// Whose request it is, as far as a fault can be for somebody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) token: Option<TokenDigest>,
    /// See [`AgentRequest::token_age`](crate::AgentRequest::token_age).
    pub(crate) token_age: Option<usize>,
    pub(crate) pod: Option<&'a str>,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(token: Option<TokenDigest>, claims: Option<&'a UnverifiedClaims>) -> Self {
        Self {
            token,
            token_age: None,
            pod: claims.and_then(|claims| claims.pod.as_deref()),
        }
    }
}

#[derive(Debug)]
struct Rule<F> {
    fault: F,
    schedule: Schedule,
}

impl<F: Injected> Faults<F> {
    pub(crate) fn new() -> Self {
        Self {
            rules: Mutex::new(Vec::new()),
            cleared: watch::Sender::new(0),
            #[cfg(feature = "scenario")]
            gates: Gates::default(),
        }
    }

    pub(crate) fn push(&self, when: When, fault: F, now: Timestamp) {
        let schedule = when.from(now);
        lock(&self.rules).push(Rule { fault, schedule });
    }

    pub(crate) fn clear(&self) {
        lock(&self.rules).clear();
        self.cleared.send_modify(|count| *count += 1);
    }

    pub(crate) fn clearing(&self) -> Clearing {
        let cleared = self.cleared.subscribe();
        let before = *cleared.borrow();
        Clearing { cleared, before }
    }

    /// The faults of the next request: those that answer come last.
    pub(crate) fn take(&self, now: Timestamp, asker: Asker<'_>) -> Vec<F> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| !rule.fault.is_spent() && !rule.schedule.is_over(now));
        let due: Vec<&mut Rule<F>> = rules
            .iter_mut()
            .filter_map(|rule| rule.schedule.comes_due(now, asker).then_some(rule))
            .collect();
        let (standing, queue): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|rule| rule.schedule.stands());

        let mut taken: Vec<F> = Vec::new();
        for rule in queue {
            if taken.iter().any(|fault| fault.is_like(&rule.fault)) {
                continue;
            }
            rule.schedule.use_up();
            taken.push(rule.fault.clone());
            if rule.fault.answers() {
                break;
            }
        }
        for rule in standing {
            let stands_for =
                |fault: &F| fault.is_like(&rule.fault) || (fault.answers() && rule.fault.answers());
            if !taken.iter().any(stands_for) {
                taken.push(rule.fault.clone());
            }
        }
        taken.sort_by_key(F::answers);
        taken
    }
}

/// Learns that the faults have been cleared since its making.
#[derive(Debug)]
pub(crate) struct Clearing {
    cleared: watch::Receiver<u64>,
    before: u64,
}

impl Clearing {
    /// Waits for the wait to end, or for the faults to be cleared.
    pub(crate) async fn or(&mut self, wait: impl Future<Output = ()>) {
        let before = self.before;
        tokio::select! {
            () = wait => {}
            _cleared = self.cleared.wait_for(|count| *count != before) => {}
        }
    }
}
