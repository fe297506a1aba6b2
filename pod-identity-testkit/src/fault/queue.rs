use std::sync::Mutex;

use pod_identity_core::Timestamp;

use crate::fault::fault::Fault;
use crate::fault::requester::Requester;
use crate::fault::schedule::Schedule;
use crate::http::clearing::{Clearing, Clearings};
use crate::http::gates::Gates;
use crate::sync::lock;

/// The faults that wait for requests.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue {
    rules: Mutex<Vec<Rule>>,
    clearings: Clearings,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    schedule: Schedule,
}

impl FaultQueue {
    /// Adds a fault that has been checked.
    pub(crate) fn push(&self, fault: Fault, from: Timestamp, gates: &Gates) {
        let schedule = Schedule::new(&fault, from, gates);
        let fault = match schedule.until() {
            Some(gate) => fault.held_at(gate),
            None => fault,
        };
        lock(&self.rules).push(Rule { fault, schedule });
    }

    pub(crate) fn clear(&self) {
        lock(&self.rules).clear();
        self.clearings.add();
    }

    pub(crate) fn clearing(&self) -> Clearing {
        self.clearings.watch()
    }

    /// Takes everything that applies to the next request.
    pub(crate) fn take(&self, now: Timestamp, requester: Requester<'_>) -> Fault {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| !rule.fault.is_spent() && !rule.schedule.is_over(now));
        let due: Vec<&mut Rule> = rules
            .iter_mut()
            .filter_map(|rule| rule.schedule.matches(now, requester).then_some(rule))
            .collect();
        let (persistent, queued): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|rule| rule.schedule.is_persistent());

        let mut taken = Fault::default();
        for rule in queued {
            if taken.overlaps(&rule.fault) {
                continue;
            }
            rule.schedule.use_up();
            taken.absorb(rule.fault.clone());
            if taken.answers() {
                break;
            }
        }
        for rule in persistent {
            let fault = rule.fault.clone();
            taken.absorb(match taken.answers() {
                true => fault.without_answer(),
                false => fault,
            });
        }
        taken
    }
}
