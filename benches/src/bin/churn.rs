//! What an event costs in a cache of 100, 10,000 and 1,000,000 slots, all of which hold credentials: a hit, a refresh
//! that is due, and a newcomer who evicts the least recently used.
//!
//! No call of the cache scans all slots, so costs must be flat or grow with the logarithm. They also grow because a
//! large cache does not fit into those of the processor.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_benches::{Limit, Page, Result, Table};
use pod_identity_core::{
    CacheLimits, CredentialSet, Expiring, Found, RefreshPolicy, SlotCache, SlotError, Timestamp,
};
use pod_identity_figure::{Figure, Line};
use tokio::time::Instant;

fn main() -> Result<ExitCode> {
    let mut table = Table::default();
    let mut lines = EVENTS.map(|(label, colour, _event)| Line {
        label,
        colour,
        values: Vec::new(),
    });
    for slots in SLOTS {
        let mut cache = Cache::full(slots);
        for ((what, _colour, event), line) in EVENTS.iter().zip(&mut lines) {
            let cost = cache.cost(*event);
            table.row(
                &format!("{what}, of {slots} slots"),
                cost,
                "ns",
                Limit::None,
            );
            line.values.push(cost);
        }
        if cache.slots.held_len() != slots {
            return Err(format!("{} slots hold something", cache.slots.held_len()).into());
        }
    }
    for line in &lines {
        if let [first, .., last] = line.values[..] {
            let what = format!("{}, of the cost in {} slots", line.label, SLOTS[0]);
            table.row(&what, last / first, "×", Limit::AtMost(GROWTH));
        }
    }
    if let Some(page) = Page::wanted() {
        let labels = SLOTS.map(|slots| slots.to_string());
        let figure = Figure {
            title: "Cost of an event in a full cache",
            unit: "ns, over the number of slots",
            scale: labels.into_iter().enumerate().collect(),
            lines: lines.into(),
        };
        page.figure("churn", &figure.draw())?;
    }
    Ok(table.print()?)
}

type Event = fn(&mut Cache);

const EVENTS: [(&str, &str, Event); 3] = [
    ("a hit", "#1f5fa8", Cache::hit),
    ("a refresh", "#4f8f3f", Cache::refresh),
    ("a newcomer", "#c0504d", Cache::newcomer),
];

struct Cache {
    slots: SlotCache<Key, Request, Set, SlotError>,
    now: Timestamp,
    /// Pods 0 to here have asked.
    asked: u64,
    /// How many of the latest are held.
    held: u64,
    random: u64,
}

impl Cache {
    fn full(slots: usize) -> Self {
        let mut limits = CacheLimits::default();
        limits.held = slots;
        // Refreshes are measured, and not their pace.
        limits.refreshes_per_second = 1e6;
        let policy = Arc::new(RefreshPolicy::agent());
        let mut cache = Self {
            slots: SlotCache::new(policy, limits, 7),
            now: START,
            asked: 0,
            held: slots as u64,
            random: 7,
        };
        // All sets together live as long as one does, as if pods had come all the time.
        let apart = LIFETIME / (2 * u32::try_from(slots).unwrap_or(u32::MAX));
        for _slot in 0..slots {
            cache.newcomer();
            cache.now = cache.now + apart;
        }
        cache
    }

    /// The lowest of several batches, because what disturbs a measurement only makes it slower. In nanoseconds.
    fn cost(&mut self, event: Event) -> f64 {
        let mut lowest = f64::INFINITY;
        for _batch in 0..BATCHES {
            let began = Instant::now();
            for _event in 0..EVENTS_OF_A_BATCH {
                event(self);
            }
            let cost = began.elapsed().as_nanos() as f64 / f64::from(EVENTS_OF_A_BATCH);
            lowest = lowest.min(cost);
        }
        lowest
    }

    /// A pod that any may be, as far as its credentials are held.
    fn hit(&mut self) {
        let pod = self.asked - 1 - self.random() % self.held;
        let found = self.slots.find(self.now, key(pod), |_request, found| {
            matches!(found, Found::Ready(_) | Found::Overdue(_))
        });
        black_box(found);
    }

    fn newcomer(&mut self) {
        let pod = self.asked;
        self.asked += 1;
        black_box(self.slots.ask(self.now, key(pod), SOURCE, || Request));
        self.fetch();
    }

    /// As the driver does it at the next deadline.
    fn refresh(&mut self) {
        let due = self.slots.poll_timeout().expect("a refresh must be due");
        self.now = self.now.max(due);
        black_box(self.slots.handle_timeout(self.now));
        self.fetch();
    }

    fn fetch(&mut self) {
        let expires = self.now + LIFETIME;
        while let Some((attempt, _request)) = self.slots.poll_fetch(self.now, |_source| true) {
            self.slots
                .handle_fetched(attempt, self.now, Ok(Set(expires)));
        }
        black_box(self.slots.poll_timeout());
    }

    /// Splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// As long as the digest of a token, and as random.
type Key = [u64; 4];

fn key(pod: u64) -> Key {
    [1, 2, 3, 4].map(|part| mix(pod.wrapping_mul(4).wrapping_add(part)))
}

struct Request;

impl Expiring for Request {
    fn expiration(&self) -> Timestamp {
        Timestamp::MAX
    }
}

struct Set(Timestamp);

impl Expiring for Set {
    fn expiration(&self) -> Timestamp {
        self.0
    }
}

impl CredentialSet for Set {
    fn is_same_set(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

const SLOTS: [usize; 3] = [100, 10_000, 1_000_000];
const BATCHES: u32 = 40;
const EVENTS_OF_A_BATCH: u32 = 2000;
/// From 100 to 1,000,000 a logarithm grows threefold; the rest is the processor's memory. A scan would take 10,000
/// times as long.
const GROWTH: f64 = 20.0;
const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
const LIFETIME: Duration = Duration::from_secs(6 * 3600);
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
