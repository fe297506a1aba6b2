//! Random schedules of everything that can happen to a provider: runtimes that stop and go, suspends, clock
//! steps, outages, role changes, rejected keys, and callers of every kind. One seed is one schedule.
//!
//! A run of the tests plays a few. `just simulate` plays thousands, or as many as it is told:
//! `POD_IDENTITY_SCHEDULES` is their number, `POD_IDENTITY_SEED` the first.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{START, body, hours, minutes};
use http::{Request, Response};
use pod_identity_provider::{
    BoxFuture, Clock, Credentials, Endpoint, FetchError, PodIdentityProvider, Timestamp, Transport,
    TransportError,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep, timeout};
use zeroize::Zeroizing;

#[test]
fn no_caller_gets_an_expired_set_for_longer_than_an_attempt_while_the_agent_is_healthy() {
    let first = variable("POD_IDENTITY_SEED").unwrap_or(0);
    let number = variable("POD_IDENTITY_SCHEDULES").unwrap_or(25);
    let mut seen = Seen::default();
    for seed in first..first + number {
        Schedule::new(seed).run(&mut seen);
    }
    println!("{number} schedules: {seen:?}");
    if number >= 25 {
        // A simulation in which nothing happens shows nothing.
        let Seen {
            live, dead, errors, ..
        } = seen;
        assert!(
            live > 50 * number && dead > number / 2 && errors > number / 2,
            "{seen:?}"
        );
    }
}

/// What the callers of all schedules got.
#[derive(Debug, Default)]
struct Seen {
    live: u64,
    /// In an outage, or just after it.
    dead: u64,
    errors: u64,
    /// The caller had no time to wait.
    timeouts: u64,
}

/// The longest that a caller may get a dead set after the agent is back: an attempt that hangs, and the
/// second in which its failure counts.
const RECOVERY: Duration = Duration::from_secs(6);

/// The same by a slow clock, while the dead set still looks alive: no caller starts an attempt then, and the
/// next one starts when the rest ends, after 60 s at most.
const SLOW_CLOCK_RECOVERY: Duration = Duration::from_secs(66);

/// A set with no more life left than this counts as expired.
const MARGIN: Duration = Duration::from_secs(15);

/// The longest that an error may go on after the agent is back: it may have asked not to be called.
const LONGEST_HINT: Duration = Duration::from_secs(61);

/// The same for a refresh on demand, while a valid set is held.
const LONGEST_REFRESH_HINT: Duration = Duration::from_secs(301);

struct Schedule {
    seed: u64,
    random: fastrand::Rng,
    world: Arc<World>,
    provider: PodIdentityProvider,
    runtimes: [Parkable; 2],
    /// The clock is an hour slow from the beginning. What is then seen depends on refreshes in time, so
    /// that the runtimes are always driven.
    is_slow: bool,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_slow = random.u8(..5) == 0;
        let world = Arc::new(World::new(if is_slow { -3600 } else { 0 }));
        let provider = PodIdentityProvider::builder()
            .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials").unwrap())
            .no_token()
            .seed(seed)
            .clock(world.clone())
            .transport(world.clone());
        Self {
            seed,
            random,
            provider: provider.build().unwrap(),
            world,
            runtimes: [Parkable::new(), Parkable::new()],
            is_slow,
        }
    }

    fn run(mut self, seen: &mut Seen) {
        for _ in 0..80 {
            self.step(seen);
        }
        let life = self.world.true_time().saturating_since(START).as_secs_f64();
        let requests = self.world.agent.lock().unwrap().requests;
        assert!(
            f64::from(requests) <= 6.0 + 5.0 * life,
            "seed {}: {requests} requests in {life} s",
            self.seed
        );
    }

    fn step(&mut self, seen: &mut Seen) {
        match self.random.u8(..20) {
            0..=3 => {
                let time = self.some_time();
                self.pass(time);
            }
            4 if !self.is_slow => {
                let time = self.some_time();
                self.world.time.lock().unwrap().suspend(time);
            }
            5 if !self.is_slow => self.step_clock(),
            6 | 7 => self.change_mood(),
            8 => self.change_role(),
            9 => self.reject(),
            10 if !self.is_slow => {
                let index = self.random.usize(..2);
                self.runtimes[index] = Parkable::new();
            }
            11 => self.check_snapshot(seen),
            12 | 13 => self.call_often(seen),
            _ => self.call(seen),
        }
    }

    /// Time passes, with a runtime that is driven or without.
    fn pass(&mut self, time: Duration) {
        if self.is_slow || self.random.bool() {
            let index = if self.is_slow {
                0
            } else {
                self.random.usize(..2)
            };
            self.drive(index, async move { sleep(time).await });
        } else {
            self.world.time.lock().unwrap().suspend(time);
            for runtime in &mut self.runtimes {
                runtime.behind += time;
            }
        }
    }

    fn drive<T>(&mut self, index: usize, future: impl Future<Output = T>) -> T {
        let (result, took) = self.runtimes[index].run(&self.world, future);
        self.runtimes[1 - index].behind += took;
        result
    }

    fn call(&mut self, seen: &mut Seen) {
        let index = if self.is_slow {
            0
        } else {
            self.random.usize(..2)
        };
        let provider = self.provider.clone();
        let patience = match self.random.u8(..6) {
            0 => Duration::from_millis(self.random.u64(..30)),
            _ => hours(1),
        };
        let is_refresh = self.random.u8(..8) == 0;
        let answer = self.drive(index, async move {
            timeout(patience, async {
                if is_refresh {
                    provider.refresh_now().await
                } else {
                    provider.credentials().await
                }
            })
            .await
        });
        match answer {
            Ok(Err(_)) if is_refresh && self.is_refresh_held_up() => seen.errors += 1,
            Ok(answer) => self.check(answer, seen),
            Err(_elapsed) => seen.timeouts += 1,
        }
    }

    fn is_refresh_held_up(&self) -> bool {
        let agent = self.world.agent.lock().unwrap();
        agent.healthy_for(self.world.true_time()) <= LONGEST_REFRESH_HINT
    }

    /// A loop of an application that is never told to stop.
    fn call_often(&mut self, seen: &mut Seen) {
        let index = if self.is_slow {
            0
        } else {
            self.random.usize(..2)
        };
        let pause = Duration::from_millis(self.random.u64(..1500));
        for _ in 0..30 {
            let provider = self.provider.clone();
            let answer = self.drive(index, async move {
                let answer = provider.credentials().await;
                sleep(pause).await;
                answer
            });
            // What was handed out before the pause may be dead after it.
            self.check_after(answer, pause, seen);
        }
    }

    fn check_snapshot(&mut self, seen: &mut Seen) {
        let provider = self.provider.clone();
        let snapshot = match self.random.bool() {
            true => provider.snapshot(),
            false => {
                let index = if self.is_slow {
                    0
                } else {
                    self.random.usize(..2)
                };
                self.drive(index, async move { provider.snapshot() })
            }
        };
        if let Some(set) = snapshot {
            self.check(Ok(set), seen);
        }
    }

    fn check(&self, answer: Result<Arc<Credentials>, FetchError>, seen: &mut Seen) {
        self.check_after(answer, Duration::ZERO, seen);
    }

    fn check_after(
        &self,
        answer: Result<Arc<Credentials>, FetchError>,
        ago: Duration,
        seen: &mut Seen,
    ) {
        let now = self.world.true_time() - ago;
        let by_clock = self.world.now() - ago;
        let agent = self.world.agent.lock().unwrap();
        // What failed because of a clock that was wrong is no different from an outage: until the clock was
        // stepped, and for as long as what the agent answers looks expired. That ends without a step too,
        // when the role gets longer sets or the agent drops the one that it kept.
        let healthy_for = agent
            .healthy_for(now)
            .min(self.world.right_for(now))
            .min(now.saturating_since(agent.looked_expired));
        let context = || {
            format!(
                "seed {} at {now}, by the clock {by_clock}: {agent:?}, {:?}",
                self.seed,
                self.provider.state()
            )
        };
        match answer {
            Err(error) => {
                seen.errors += 1;
                assert!(
                    healthy_for <= LONGEST_HINT,
                    "{error} although the agent is healthy; {}",
                    context()
                );
            }
            Ok(set) => {
                let expiration = agent.issued[set.access_key_id()];
                if expiration > now {
                    seen.live += 1;
                } else {
                    seen.dead += 1;
                    let looks_alive = self.is_slow && expiration > by_clock;
                    let recovery = if looks_alive {
                        SLOW_CLOCK_RECOVERY
                    } else {
                        RECOVERY
                    };
                    assert!(
                        healthy_for <= recovery,
                        "{} expired at {expiration}; {}",
                        set.access_key_id(),
                        context()
                    );
                }
                let announced = set.expiration().saturating_since(by_clock);
                let left = expiration.saturating_since(by_clock);
                assert!(
                    announced <= left || (left.is_zero() && announced <= Duration::from_secs(20)),
                    "announced with {announced:?}, has {left:?}; {}",
                    context()
                );
            }
        }
    }

    fn some_time(&mut self) -> Duration {
        let longest = [1_000, 60_000, 60_000, 1_200_000, 3_600_000, 8 * 3_600_000];
        let longest = longest[self.random.usize(..longest.len())];
        Duration::from_millis(self.random.u64(..longest))
    }

    /// Right, or ahead by any time.
    fn step_clock(&mut self) {
        let wrong_by = match self.random.u8(..4) {
            0 | 1 => 0,
            2 => self.random.i64(0..1800),
            _ => self.random.i64(0..2 * 86_400),
        };
        let mut time = self.world.time.lock().unwrap();
        (time.wrong_by, time.stepped) = (wrong_by * 1000, time.now);
    }

    fn change_mood(&mut self) {
        let mood = match self.random.u8(..14) {
            0 => Mood::Broken,
            1 => Mood::Refusing(503, None),
            2 => Mood::Refusing(429, Some(self.random.u64(..400))),
            3 => Mood::Hanging,
            4 => Mood::Refusing(404, None),
            _ => Mood::Healthy,
        };
        let now = self.world.true_time();
        let mut agent = self.world.agent.lock().unwrap();
        if matches!((agent.mood, mood), (Mood::Healthy, Mood::Healthy)) {
            return;
        }
        agent.mood = mood;
        agent.since = now;
    }

    fn change_role(&mut self) {
        let lifetime = [minutes(20), minutes(59), hours(6), hours(12)];
        let mut agent = self.world.agent.lock().unwrap();
        agent.lifetime = lifetime[self.random.usize(..lifetime.len())];
        agent.current = None;
        agent.latency = Duration::from_millis(self.random.u64(1..400));
        agent.is_caching = self.random.bool();
    }

    /// A service rejects the current key; the agent may or may not get another.
    fn reject(&mut self) {
        let rejected = {
            let mut agent = self.world.agent.lock().unwrap();
            let rejected = agent.current.clone();
            if self.random.bool() {
                agent.current = None;
            }
            rejected
        };
        if let Some((key, ..)) = rejected {
            self.provider.invalidate(&key);
        }
    }
}

/// A runtime that is driven now and then.
struct Parkable {
    runtime: Runtime,
    /// How much time has passed since it was driven.
    behind: Duration,
}

impl Parkable {
    fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        Self {
            // Without I/O, which would be polled at each of some ten thousand steps.
            runtime: builder.enable_time().start_paused(true).build().unwrap(),
            behind: Duration::ZERO,
        }
    }

    /// Runs a future to its end; returns how long that took.
    fn run<T>(&mut self, world: &World, future: impl Future<Output = T>) -> (T, Duration) {
        let behind = std::mem::take(&mut self.behind);
        self.runtime.block_on(async {
            if !behind.is_zero() {
                advance(behind).await;
            }
            let began = Instant::now();
            world.time.lock().unwrap().running_since = Some(began);
            let result = future.await;
            let took = began.elapsed();
            let mut time = world.time.lock().unwrap();
            time.running_since = None;
            time.suspend(took);
            (result, took)
        })
    }
}

/// The time, and the agent on the other side of the transport.
#[derive(Debug)]
struct World {
    time: Mutex<Time>,
    agent: Mutex<Agent>,
}

#[derive(Debug)]
struct Time {
    now: Timestamp,
    /// The time of the runtime that is driven goes on from `now`.
    running_since: Option<Instant>,
    wrong_by: i64,
    stepped: Timestamp,
}

impl Time {
    fn suspend(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

#[derive(Debug)]
struct Agent {
    mood: Mood,
    since: Timestamp,
    lifetime: Duration,
    /// When it last handed out a set that the clock, which was ahead, made look expired.
    looked_expired: Timestamp,
    latency: Duration,
    /// It keeps a set for itself until a quarter of the life is left.
    is_caching: bool,
    /// Key and expiration.
    current: Option<(String, Timestamp)>,
    issued: HashMap<String, Timestamp>,
    requests: u32,
}

#[derive(Debug, Clone, Copy)]
enum Mood {
    Healthy,
    Broken,
    Refusing(u16, Option<u64>),
    Hanging,
}

impl Agent {
    fn healthy_for(&self, now: Timestamp) -> Duration {
        match self.mood {
            Mood::Healthy => now.saturating_since(self.since),
            _ => Duration::ZERO,
        }
    }

    fn hand_out(&mut self, now: Timestamp, by_clock: Timestamp) -> String {
        let (is_caching, lifetime) = (self.is_caching, self.lifetime);
        let is_kept = |(_, expiration): &&(String, Timestamp)| {
            is_caching && expiration.saturating_since(now) > lifetime / 4
        };
        let (key, expiration) = match self.current.as_ref().filter(is_kept) {
            Some(kept) => kept.clone(),
            None => (format!("ASIA{}", self.issued.len() + 1), now + lifetime),
        };
        if expiration.saturating_since(by_clock) <= MARGIN {
            self.looked_expired = now;
        }
        self.issued.insert(key.clone(), expiration);
        self.current = Some((key.clone(), expiration));
        // Whole seconds, as on the wire.
        body(&key, &expiration.to_string())
    }
}

impl World {
    fn new(wrong_by: i64) -> Self {
        let agent = Agent {
            mood: Mood::Healthy,
            since: START,
            lifetime: hours(6),
            looked_expired: Timestamp::MIN,
            latency: Duration::from_millis(10),
            is_caching: false,
            current: None,
            issued: HashMap::new(),
            requests: 0,
        };
        let time = Time {
            now: START,
            running_since: None,
            wrong_by: wrong_by * 1000,
            stepped: START,
        };
        Self {
            time: Mutex::new(time),
            agent: Mutex::new(agent),
        }
    }

    fn true_time(&self) -> Timestamp {
        let time = self.time.lock().unwrap();
        let running = time.running_since.map(|since| since.elapsed());
        time.now + running.unwrap_or_default()
    }

    /// For how long the clock has not been stepped.
    fn right_for(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.time.lock().unwrap().stepped)
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        let true_time = self.true_time();
        let wrong_by = self.time.lock().unwrap().wrong_by;
        Timestamp::from_unix_millis(true_time.as_unix_millis() + wrong_by)
    }
}

impl Transport for World {
    fn send(
        &self,
        _request: Request<()>,
        _addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
        Box::pin(async move {
            let latency = {
                let mut agent = self.agent.lock().unwrap();
                agent.requests += 1;
                agent.latency
            };
            sleep(latency).await;
            let mood = self.agent.lock().unwrap().mood;
            let answer = |status, retry_after: Option<u64>, body: String| {
                let mut answer = Response::builder().status(status);
                if let Some(seconds) = retry_after {
                    answer = answer.header("retry-after", seconds);
                }
                Ok(answer.body(Zeroizing::new(body.into_bytes())).unwrap())
            };
            match mood {
                Mood::Healthy => {
                    let (now, by_clock) = (self.true_time(), self.now());
                    let body = self.agent.lock().unwrap().hand_out(now, by_clock);
                    answer(200, None, body)
                }
                Mood::Refusing(404, _) => {
                    let gone = "[1-2]: (ResourceNotFoundException): none, fault: client";
                    answer(404, None, gone.to_owned())
                }
                Mood::Refusing(status, retry_after) => answer(status, retry_after, "no".to_owned()),
                Mood::Broken => Err(TransportError::Exchange("reset by the simulation".into())),
                Mood::Hanging => std::future::pending().await,
            }
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for from outside"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
