use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::CacheLimits;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::node::Node;
use super::pod::{Answer, Limits, Pod, Seen};
use super::world::{HOUR, Keys, Mood, World};
use crate::credentials::cache::{LONGEST_SLEEP, MAX_IN_FLIGHT};
use crate::credentials::settings::Settings;
use crate::serve::connection_limits::ConnectionLimits;

/// One schedule: rounds of a busy minute and quiet hours, then everything is well again, and then the agent ends.
pub(super) struct Schedule {
    random: Rng,
    world: Arc<World>,
    node: Arc<Node>,
    pods: Vec<Pod>,
    service_accounts: usize,
    limits: Limits,
    cache: CacheLimits,
    seen: Seen,
}

impl Schedule {
    /// Plays it up to the first round in which something happened that must not.
    pub(super) fn run(seed: u64) -> Result<Seen, String> {
        let mut runtime = Builder::new_current_thread();
        // Without I/O, which would be polled at each of some ten thousand steps.
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut schedule = Self::new(seed);
            for _round in 0..schedule.random.usize(2..5) {
                schedule.play_round().await;
                schedule.check(seed)?;
            }
            schedule.recover().await;
            schedule.check(seed)?;
            schedule.end().await;
            schedule.check(seed)?;
            schedule.seen.exchanges = schedule.world.exchanges();
            Ok(schedule.seen)
        })
    }

    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let service_accounts = random.usize(1..4);
        let number = random.usize(2..12);
        let world = World::new(seed, service_accounts);
        let crowded = random.u8(..4) == 0;
        let mut settings = Settings::new(seed);
        if random.u8(..4) == 0 {
            settings.limits.held = random.usize(..4);
            settings.limits.empty = random.usize(1..8);
            settings.limits.empty_per_source = random.usize(1..4);
        }
        let cache = settings.limits.clone();
        let node_addresses = settings.node_addresses.clone();
        let ample = ConnectionLimits {
            node_addresses,
            ..ConnectionLimits::default()
        };
        let connections = match crowded {
            true => ConnectionLimits {
                per_source: 4,
                per_node_address: 6,
                total: 20,
                buffered: 5,
                awaiting_header_per_source: 2,
                awaiting_header: 4,
                ..ample
            },
            false => ample,
        };
        let patience = match crowded {
            // For room, for buffers, and for EKS Auth.
            true => Duration::from_millis(2_000 + 1_000 + 900),
            false => Duration::from_millis(900),
        };
        let limits = Limits {
            answered_within: patience,
            crowded,
            pods: number,
        };
        let node = Arc::new(Node::new(&world, settings, connections, random.bool()));
        let pods = (0..number)
            .map(|number| Pod::new(number, &node, &world, limits, &mut random))
            .collect();
        if random.bool() {
            world.set_keys(Keys::There);
        }
        Self {
            random,
            world,
            node,
            pods,
            service_accounts,
            limits,
            cache,
            seen: Seen::default(),
        }
    }

    /// Everybody is busy for a while; then there are no clients for longer.
    async fn play_round(&mut self) {
        let time = Duration::from_millis(self.random.u64(1_000..16_000));
        let until = Instant::now() + time;
        let mut living = JoinSet::new();
        for pod in std::mem::take(&mut self.pods) {
            living.spawn(pod.live(until));
        }
        let node = Arc::clone(&self.node);
        let mut sweeping = JoinSet::new();
        sweeping.spawn(async move { node.sweep().await });
        while Instant::now() < until {
            self.change().await;
            self.node.reap();
            self.check_bounds();
            sleep(Duration::from_millis(self.random.u64(1..3_000))).await;
        }
        let mut pods = living.join_all().await;
        pods.sort_by_key(|pod| pod.number);
        self.pods = pods;
        sweeping.shutdown().await;
        self.check_that_nothing_is_left().await;
        // Quiet hours: only the cache works, and nobody sweeps.
        let longest = [1_000, 600_000, 3_600_000, 4 * 3_600_000];
        let longest = longest[self.random.usize(..longest.len())];
        let quiet = Duration::from_millis(self.random.u64(..longest));
        let (readings, exchanges) = (self.world.readings(), self.world.exchanges());
        sleep(quiet).await;
        let readings = self.world.readings() - readings;
        let exchanges = self.world.exchanges() - exchanges;
        if readings > 20 + quiet.as_secs() / 10 + 20 * exchanges {
            self.world.violate(format_args!(
                "the clock was read {readings} times in {quiet:?}, for {exchanges} exchanges"
            ));
        }
    }

    /// The world changes.
    async fn change(&mut self) {
        match self.random.u8(..12) {
            0..=3 => {
                let mood = match self.random.u8(..14) {
                    0 => Mood::Slow,
                    1 => Mood::Throttling(None),
                    2 => Mood::Throttling(Some(self.random.u64(..90))),
                    3 => Mood::Failing,
                    4 => Mood::Refusing,
                    5 => Mood::Hanging,
                    6 => Mood::Useless,
                    7 | 8 => Mood::Mixed,
                    _ => Mood::Healthy,
                };
                self.world.set_mood(mood);
            }
            4 | 5 => {
                let role = (self.random.u8(..3) > 0).then(|| self.random.u32(..));
                let service_account = self.random.usize(..self.service_accounts);
                self.world.set_role(service_account, role);
            }
            6 => {
                let lifetimes = [HOUR / 3, HOUR, HOUR * 6, HOUR * 6, HOUR * 12];
                let lifetime = lifetimes[self.random.usize(..lifetimes.len())];
                self.world.set_lifetime(lifetime);
            }
            7 => {
                let farthest = [0, 1_000, 60_000, HOUR.as_millis() as i64 * 30];
                let farthest = farthest[self.random.usize(..farthest.len())];
                self.world.step_clock(self.random.i64(-farthest..=farthest));
            }
            8 => {
                let keys = [Keys::Away, Keys::Hanging, Keys::There, Keys::There];
                self.world.set_keys(keys[self.random.usize(..keys.len())]);
            }
            _ => {}
        }
    }

    /// Everything is well again: each pod has credentials soon.
    async fn recover(&mut self) {
        self.world.step_clock(0);
        self.world.set_mood(Mood::Healthy);
        self.world.set_lifetime(HOUR * 6);
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for mut pod in std::mem::take(&mut self.pods) {
            let world = Arc::clone(&self.world);
            let pause = Duration::from_millis(self.random.u64(200..1_500));
            asking.spawn(async move {
                let took = loop {
                    let answer = pod.ask().await;
                    let is_right = match (&answer, world.role_of(pod.number)) {
                        (Answer::Set(_), Some(_)) => true,
                        // A set that was minted before may live on.
                        (Answer::Set(_) | Answer::Status(404, _), None) => true,
                        _ => false,
                    };
                    let took = began.elapsed();
                    // An exchange that began before may bring another hint.
                    let bound = RECOVERY + world.quiet_since(began);
                    if is_right || took > bound * 2 {
                        if took > bound {
                            let number = pod.number;
                            world.violate(format_args!(
                                "pod {number} got {answer:?} {took:?} after the recovery"
                            ));
                        }
                        break took;
                    }
                    sleep(pause).await;
                };
                (pod, took)
            });
        }
        let mut pods = asking.join_all().await;
        pods.sort_by_key(|(pod, _)| pod.number);
        for (pod, took) in pods {
            let took = took.saturating_sub(self.world.quiet_since(began));
            self.seen.recovery = self.seen.recovery.max(took);
            self.pods.push(pod);
        }
    }

    /// The agent ends while requests are under way: each that has been sent is answered.
    async fn end(&mut self) {
        let mut asking = JoinSet::new();
        for mut pod in std::mem::take(&mut self.pods) {
            asking.spawn(async move {
                pod.ask().await;
                pod.seen
            });
        }
        tokio::task::yield_now().await;
        let has_ended = self.node.stop(SHUTDOWN).await;
        if !has_ended {
            self.world
                .violate("connections are left after the shutdown");
        }
        for seen in asking.join_all().await {
            self.seen.add(seen);
        }
        self.check_that_nothing_is_left().await;
    }

    /// After all clients have gone.
    async fn check_that_nothing_is_left(&mut self) {
        // Headers, answers and the queue are waited for.
        sleep(Duration::from_secs(8)).await;
        self.node.reap();
        if let Err(left) = self.node.connections.is_unused() {
            self.world
                .violate(format_args!("connections are not used: {left}"));
        }
        // Fetches go on for 30 s after the last client, and the last attempt takes its time, unless EKS Auth asked
        // for more. Slots are dropped when the driver next looks.
        let rest = Duration::from_secs(30 + 3 + 8)
            + self.world.quiet_since(Instant::now())
            + LONGEST_SLEEP;
        sleep(rest).await;
        let reading = self.node.reading();
        if reading.cached > self.cache.held {
            self.world
                .violate(format_args!("{} sets are kept", reading.cached));
        }
        if reading.waiting > 0 {
            self.world.violate(format_args!(
                "{} slots wait for nobody: {}",
                reading.waiting,
                self.node.details()
            ));
        }
        if self.node.charged() > self.world.in_flight() {
            self.world
                .violate("exchanges are charged that are not under way");
        }
    }

    fn check_bounds(&self) {
        let reading = self.node.reading();
        let (held, waiting) = (reading.cached, reading.waiting);
        // Those whose exchanges have just ended are evicted when the next one may start. A slot whose set has expired is
        // kept while somebody waits for it.
        let most_held = self.cache.held + MAX_IN_FLIGHT;
        if held > most_held || waiting > self.cache.empty + self.world.expired().min(most_held) {
            self.world
                .violate(format_args!("{held} sets, {waiting} slots without"));
        }
        if !self.limits.crowded && self.node.rejected() > 0 {
            // Requests that are not HTTP count too, and none is sent.
            self.world
                .violate("a connection was turned away although there is room");
        }
    }

    fn check(&self, seed: u64) -> Result<(), String> {
        let violations = self.world.violations();
        if violations.is_empty() {
            return Ok(());
        }
        let (limits, cache) = (&self.limits, &self.cache);
        let first: Vec<_> = violations.iter().take(5).map(String::as_str).collect();
        let (number, first) = (violations.len(), first.join("\n  "));
        Err(format!(
            "seed {seed}, {limits:?}, {cache:?}: {number} violations\n  {first}"
        ))
    }
}

/// 30 s after a long outage, as docs/behaviours.md says, or when EKS Auth may be called again.
const RECOVERY: Duration = Duration::from_secs(30);

/// Requests in flight have 5 s.
const SHUTDOWN: Duration = Duration::from_secs(5);
