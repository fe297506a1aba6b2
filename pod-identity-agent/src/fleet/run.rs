use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::Timestamp;

use super::eks_auth::{Exchanged, LimitedEksAuth, latency};
use super::node::{Answer, Node};
use super::official::{Official, SWEEP};
use super::pod::{PATIENCE, Pod};
use super::scenario::{
    Agents, EXCHANGES_PER_SECOND, NODES, PODS_PER_NODE, START, Scenario, UPGRADE_STEP,
};
use crate::credentials::settings::DEFAULT_ANSWER_WITHIN;
use crate::credentials::state::Running;
use crate::eks_auth::subject::Subject;

/// One run of a scenario.
pub(super) struct Run {
    scenario: &'static Scenario,
    rng: Rng,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    serial: u64,
    pods: Vec<Pod>,
    agents: Fleet,
    eks_auth: LimitedEksAuth,
    /// Exchanges of our agents that are under way, with the node of each.
    running: HashMap<u64, (usize, (Running, Subject), Exchanged)>,
    /// The timer of each node that counts.
    timers: Vec<u64>,
    record: Record,
}

enum Fleet {
    Ours(Vec<Node>),
    Official(Vec<Official>),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A pod sends its request with this serial number.
    Ask(usize, u32),
    /// A pod waits no longer for it.
    GiveUp(usize, u32),
    /// The timer of a node.
    Wake(usize),
    /// An exchange of our agents is over.
    Done(u64),
    /// The agent on this node is replaced by a new one.
    Replace(usize),
    /// The official agent exchanges for the request of a pod.
    Exchange(usize, u32),
    /// The official agent has the answer for it.
    Exchanged(usize, u32, Option<Timestamp>),
    /// The official agent renews what is due.
    Sweep(usize),
    /// It has renewed a set, or failed to.
    Renewed(usize, Option<Timestamp>),
    Sample,
}

/// What was seen of a run.
pub(super) struct Record {
    pub(super) granted: u64,
    pub(super) throttled: u64,
    pub(super) failed: u64,
    /// Calls of EKS Auth in each minute that is reported.
    pub(super) calls: Vec<u32>,
    /// How many of a thousand pods have no valid credentials, in each minute.
    pub(super) without: Vec<f64>,
    /// How long each pod was without, for those that were.
    pub(super) gaps: Vec<Duration>,
    /// When the last gap ended.
    pub(super) last_gap: Option<Timestamp>,
    /// The most calls within one second.
    pub(super) peak: u32,
    this_second: (i64, u32),
}

impl Run {
    /// A run of so many nodes, whose EKS Auth grants them their share of what it grants [`NODES`].
    pub(super) fn new(scenario: &'static Scenario, agents: Agents, nodes: usize) -> Self {
        let limit = EXCHANGES_PER_SECOND * nodes as f64 / NODES as f64;
        let outage = scenario.outage.map(|(from, to)| (START + from, START + to));
        let mut run = Self {
            scenario,
            rng: Rng::with_seed(1),
            now: START,
            events: BinaryHeap::new(),
            serial: 0,
            pods: Vec::new(),
            agents: match agents {
                Agents::Ours => {
                    Fleet::Ours((0..nodes).map(|node| Node::new(node as u64)).collect())
                }
                Agents::Official => {
                    Fleet::Official((0..nodes).map(|_| Official::default()).collect())
                }
            },
            eks_auth: LimitedEksAuth::new(limit, outage),
            running: HashMap::new(),
            timers: vec![0; nodes],
            record: Record::new(),
        };
        let within = scenario.begins_within.as_millis() as u64;
        for number in 0..nodes * PODS_PER_NODE {
            let begins = START + Duration::from_millis(run.rng.u64(..within));
            run.pods
                .push(Pod::new(number, number / PODS_PER_NODE, begins));
            run.at(begins, Event::Ask(number, 0));
        }
        if agents == Agents::Official {
            for node in 0..nodes {
                let first = Duration::from_millis(run.rng.u64(..SWEEP.as_millis() as u64));
                run.at(START + first, Event::Sweep(node));
            }
        }
        if let Some(from) = scenario.upgrade {
            for node in 0..nodes {
                let step = UPGRADE_STEP * (node * 10 / nodes) as u32;
                let when = START + from + step + Duration::from_millis(run.rng.u64(..10_000));
                run.at(when, Event::Replace(node));
            }
        }
        run.at(START + scenario.from, Event::Sample);
        run
    }

    pub(super) fn finish(mut self) -> Record {
        let end = START + self.scenario.to;
        while let Some(Reverse((at, serial, event))) = self.events.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.happen(serial, event);
        }
        for pod in self.pods.iter().filter(|pod| pod.expires <= end) {
            self.record
                .gaps
                .push(end.saturating_since(pod.since.max(pod.expires)));
            self.record.last_gap = Some(end);
        }
        self.record
    }

    fn happen(&mut self, serial: u64, event: Event) {
        match event {
            Event::Ask(pod, serial) if self.pods[pod].serial == serial => self.ask(pod),
            Event::GiveUp(pod, serial) if self.pods[pod].serial == serial => {
                let node = self.pods[pod].node;
                match &mut self.agents {
                    Fleet::Ours(nodes) => nodes[node].give_up(pod),
                    Fleet::Official(nodes) => nodes[node].give_up(pod),
                }
                self.failed(pod);
            }
            Event::Ask(..) | Event::GiveUp(..) => {}
            Event::Wake(node) => {
                if self.timers[node] == serial {
                    self.drive(node);
                }
            }
            Event::Done(number) => self.done(number),
            Event::Replace(node) => {
                let seed = self.rng.u64(..);
                self.running.retain(|_, (of, ..)| *of != node);
                match &mut self.agents {
                    Fleet::Ours(nodes) => nodes[node] = Node::new(seed),
                    Fleet::Official(nodes) => nodes[node] = Official::default(),
                }
            }
            Event::Exchange(pod, serial) => self.exchange_for(pod, serial),
            Event::Exchanged(pod, serial, expires) => self.exchanged_for(pod, serial, expires),
            Event::Sweep(node) => self.sweep(node),
            Event::Renewed(pod, expires) => {
                let (now, node) = (self.node_time(), self.pods[pod].node);
                if let (Fleet::Official(nodes), Some(expires)) = (&mut self.agents, expires) {
                    nodes[node].hold(pod, now, expires);
                }
            }
            Event::Sample => self.sample(),
        }
    }

    fn ask(&mut self, number: usize) {
        let now = self.node_time();
        let node = self.pods[number].node;
        let serial = self.pods[number].serial;
        match &mut self.agents {
            Fleet::Ours(nodes) => {
                match nodes[node].ask(now, number, &self.pods[number]) {
                    Answer::Credentials(expires) => self.succeeded(number, expires),
                    Answer::Failure => self.failed(number),
                    Answer::Later => self.at(
                        self.now + DEFAULT_ANSWER_WITHIN,
                        Event::GiveUp(number, serial),
                    ),
                }
                self.drive(node);
            }
            Fleet::Official(nodes) => match nodes[node].held(now, number) {
                Some(expires) => self.succeeded(number, expires),
                None => {
                    nodes[node].ask(number, serial);
                    self.at(self.now, Event::Exchange(number, serial));
                    self.at(self.now + PATIENCE, Event::GiveUp(number, serial));
                }
            },
        }
    }

    fn succeeded(&mut self, number: usize, expires: Timestamp) {
        let node_time = self.node_time();
        let pod = &mut self.pods[number];
        if pod.expires <= self.now {
            let since = pod.since.max(pod.expires);
            let gap = self.now.saturating_since(since);
            if expires > self.now && self.now >= START + self.scenario.from && !gap.is_zero() {
                self.record.gaps.push(gap);
                self.record.last_gap = Some(self.now);
            }
        }
        pod.hold(expires);
        pod.serial += 1;
        // The SDK compares with the clock of the node.
        let wait = pod
            .next(node_time, &mut self.rng)
            .saturating_since(node_time);
        let serial = pod.serial;
        self.at(self.now + wait, Event::Ask(number, serial));
    }

    fn failed(&mut self, number: usize) {
        let pod = &mut self.pods[number];
        pod.serial += 1;
        let (wait, serial) = (pod.pause(&mut self.rng), pod.serial);
        self.at(self.now + wait, Event::Ask(number, serial));
    }

    /// What the driver of this agent does whenever something has happened.
    fn drive(&mut self, node: usize) {
        let now = self.node_time();
        let Fleet::Ours(nodes) = &mut self.agents else {
            return;
        };
        let mut started = Vec::new();
        while let Some(running) = nodes[node].poll_fetch(now) {
            started.push(running);
        }
        let answers = nodes[node].answers();
        let wakes = nodes[node].wakes(now).saturating_since(now);
        for running in started {
            let exchanged = self.call();
            let over = self.now + latency(&mut self.rng);
            let number = self.serial;
            self.running.insert(number, (node, running, exchanged));
            self.at(over, Event::Done(number));
        }
        for (number, answer) in answers {
            match answer {
                Answer::Credentials(expires) => self.succeeded(number, expires),
                Answer::Failure | Answer::Later => self.failed(number),
            }
        }
        self.at(self.now + wakes, Event::Wake(node));
        self.timers[node] = self.serial;
    }

    fn done(&mut self, number: u64) {
        let now = self.node_time();
        // None if the agent has been replaced meanwhile.
        let Some((node, running, exchanged)) = self.running.remove(&number) else {
            return;
        };
        let result = self.eks_auth.answer(exchanged);
        if let Fleet::Ours(nodes) = &mut self.agents {
            nodes[node].finish(now, &running, result);
        }
        self.drive(node);
    }

    fn exchange_for(&mut self, pod: usize, serial: u32) {
        let node = self.pods[pod].node;
        let Fleet::Official(nodes) = &self.agents else {
            return;
        };
        if nodes[node].is_asking(pod, serial) {
            let over = self.now + latency(&mut self.rng);
            let expires = granted(self.call());
            self.at(over, Event::Exchanged(pod, serial, expires));
        }
    }

    fn exchanged_for(&mut self, pod: usize, serial: u32, expires: Option<Timestamp>) {
        let (now, node) = (self.node_time(), self.pods[pod].node);
        let Fleet::Official(nodes) = &mut self.agents else {
            return;
        };
        if !nodes[node].is_asking(pod, serial) {
            return;
        }
        match (expires, nodes[node].retries(pod)) {
            (Some(expires), _) => {
                nodes[node].give_up(pod);
                nodes[node].hold(pod, now, expires);
                self.succeeded(pod, expires);
            }
            (None, Some(attempt)) => {
                // Full jitter, doubling from a second.
                let longest = 1_000 << (attempt - 2);
                let pause = Duration::from_millis(self.rng.u64(..longest));
                self.at(self.now + pause, Event::Exchange(pod, serial));
            }
            (None, None) => {
                nodes[node].give_up(pod);
                self.failed(pod);
            }
        }
    }

    fn sweep(&mut self, node: usize) {
        let now = self.node_time();
        let Fleet::Official(nodes) = &self.agents else {
            return;
        };
        for pod in nodes[node].sweep(now) {
            let over = self.now + latency(&mut self.rng);
            let expires = granted(self.call());
            self.at(over, Event::Renewed(pod, expires));
        }
        self.at(self.now + SWEEP, Event::Sweep(node));
    }

    fn call(&mut self) -> Exchanged {
        let exchanged = self.eks_auth.exchange(self.now);
        if self.now >= START + self.scenario.from {
            self.record
                .count(self.now, exchanged, START + self.scenario.from);
        }
        exchanged
    }

    fn sample(&mut self) {
        let begun = self.pods.iter().filter(|pod| pod.since <= self.now);
        let without = begun.filter(|pod| pod.expires <= self.now).count();
        let share = without as f64 * 1000.0 / self.pods.len() as f64;
        self.record.without.push(share);
        self.at(self.now + MINUTE, Event::Sample);
    }

    /// The time by the clocks of the nodes.
    fn node_time(&self) -> Timestamp {
        match self.scenario.step {
            Some((from, to, ahead)) if START + from <= self.now && self.now < START + to => {
                self.now + ahead
            }
            _ => self.now,
        }
    }

    fn at(&mut self, when: Timestamp, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((when, self.serial, event)));
    }
}

impl Record {
    fn new() -> Self {
        Self {
            granted: 0,
            throttled: 0,
            failed: 0,
            calls: Vec::new(),
            without: Vec::new(),
            gaps: Vec::new(),
            last_gap: None,
            peak: 0,
            this_second: (0, 0),
        }
    }

    fn count(&mut self, now: Timestamp, exchanged: Exchanged, from: Timestamp) {
        match exchanged {
            Exchanged::Granted(_) => self.granted += 1,
            Exchanged::Throttled => self.throttled += 1,
            Exchanged::Down => self.failed += 1,
        }
        let minute = (now.saturating_since(from).as_secs() / 60) as usize;
        if self.calls.len() <= minute {
            self.calls.resize(minute + 1, 0);
        }
        self.calls[minute] += 1;
        match &mut self.this_second {
            (second, calls) if *second == now.as_unix_secs() => *calls += 1,
            other => *other = (now.as_unix_secs(), 1),
        }
        self.peak = self.peak.max(self.this_second.1);
    }

    /// The longest that a pod was without credentials.
    pub(super) fn longest_without(&self) -> Duration {
        self.gaps.iter().copied().max().unwrap_or_default()
    }
}

fn granted(exchanged: Exchanged) -> Option<Timestamp> {
    match exchanged {
        Exchanged::Granted(expires) => Some(expires),
        Exchanged::Throttled | Exchanged::Down => None,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
