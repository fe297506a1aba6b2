use std::sync::Mutex;

use pod_identity_core::Timestamp;

use crate::fault::fault::Fault;
use crate::fault::faults::{Faults, Pending};
use crate::fault::requester::Requester;
use crate::fault::schedule::Schedule;
use crate::fault::usage::Usage;
use crate::http::clearing::{Clearing, Clearings};
use crate::http::gates::Gates;
use crate::sync::lock;

/// The faults that wait for requests.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue {
    rules: Mutex<Vec<Rule>>,
    /// Of every fault since the start, also of those that are over: [`clear`](Faults::clear) does not make a test
    /// that injected a fault in vain a good one.
    usages: Mutex<Vec<Usage>>,
    clearings: Clearings,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    schedule: Schedule,
    usage: Usage,
}

impl FaultQueue {
    /// Adds a fault that has been checked.
    pub(crate) fn push(&self, fault: Fault, from: Timestamp, gates: &Gates) {
        let usage = self.watch(&fault);
        let schedule = Schedule::new(&fault, from, gates);
        let fault = match schedule.until() {
            Some(gate) => fault.held_at(gate),
            None => fault,
        };
        let rule = Rule {
            fault,
            schedule,
            usage,
        };
        lock(&self.rules).push(rule);
    }

    /// Watches whether a fault is used that has no place in the queue.
    pub(crate) fn watch(&self, fault: &Fault) -> Usage {
        let usage = Usage::of(fault);
        lock(&self.usages).push(usage.clone());
        usage
    }

    pub(crate) fn clearing(&self) -> Clearing {
        self.clearings.watch()
    }

    /// All that happens to the next request, and what is used if that changes its success.
    pub(crate) fn take(&self, now: Timestamp, requester: Requester<'_>) -> (Fault, Vec<Usage>) {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| !rule.fault.is_spent() && !rule.schedule.is_over(now));
        let due: Vec<&mut Rule> = rules
            .iter_mut()
            .filter_map(|rule| rule.schedule.matches(now, requester).then_some(rule))
            .collect();
        let (persistent, queued): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|rule| rule.schedule.is_persistent());

        let mut taken = Taken::default();
        for rule in queued {
            if taken.fault.overlaps(&rule.fault) {
                continue;
            }
            rule.schedule.use_up();
            taken.add(rule.fault.clone(), &rule.usage);
            if taken.fault.answers() {
                break;
            }
        }
        for rule in persistent {
            let fault = rule.fault.clone();
            let fault = match taken.fault.answers() {
                true => fault.without_answer(),
                false => fault,
            };
            taken.add(fault, &rule.usage);
        }
        (taken.fault, taken.changes)
    }
}

impl Faults for FaultQueue {
    fn unused(&self) -> Vec<String> {
        let usages = lock(&self.usages);
        usages.iter().filter_map(Usage::complaint).collect()
    }

    fn pending(&self, now: Timestamp) -> Vec<Pending> {
        let rules = lock(&self.rules);
        let pending = rules
            .iter()
            .filter(|rule| !rule.fault.is_spent() && !rule.schedule.is_over(now));
        pending
            .map(|rule| Pending {
                fault: rule.fault.clone(),
                left: rule.schedule.left(),
                used: rule.usage.is_used(),
            })
            .collect()
    }

    fn forget(&self) {
        lock(&self.usages).clear();
    }

    fn clear(&self) {
        lock(&self.rules).clear();
        self.clearings.add();
    }
}

#[derive(Default)]
struct Taken {
    fault: Fault,
    changes: Vec<Usage>,
}

impl Taken {
    fn add(&mut self, fault: Fault, usage: &Usage) {
        if fault.needs_success() {
            self.changes.push(usage.clone());
        } else if !fault.members().is_empty() {
            usage.mark();
        }
        self.fault.absorb(fault);
    }
}
