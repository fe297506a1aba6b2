//! The provider beside aws-config's container provider and the SDK's identity cache.
//!
//! `cargo run --release -p pod-identity-benches --bin provider`

use std::env;
use std::error::Error;
use std::fs;
use std::future::{Future, pending};
use std::hint::black_box;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::identity::{ResolveCachedIdentity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::config_bag::ConfigBag;
use pod_identity_benches::{Limit, LocalAgent, Table, median, nanoseconds_per_call};
use pod_identity_provider::{Clock, PodIdentityProvider, Secret, SystemClock};
use pod_identity_testkit::SettableClock;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<ExitCode> {
    // A child that measures its own start.
    let began = Instant::now();
    match env::args().nth(1).as_deref() {
        Some(COLD_OURS) => return cold(began, PodIdentityProvider::from_env()),
        Some(COLD_EXISTING) => {
            return cold(began, EcsCredentialsProvider::builder().build());
        }
        Some(TURN_BY_TURN) => return turn_by_turn(),
        Some(IDLE) => return idle(),
        _ => {}
    }

    let agent = LocalAgent::start()?;
    // It takes nine minutes, in which it does next to nothing.
    let idle = start_child(&agent, IDLE)?;
    let mut table = Table::default();
    held(&agent, &mut table)?;
    fetches(&agent, &mut table)?;
    starts(&agent, &mut table)?;
    memory(&agent, &mut table)?;
    let wakes = output(idle, IDLE)?.trim().parse()?;
    table.row(
        "wake-ups a minute of an idle provider",
        wakes,
        "",
        Limit::AtMost(1.0),
    );
    Ok(table.print()?)
}

/// With credentials held.
fn held(agent: &LocalAgent, table: &mut Table) -> Result<()> {
    let runtime = current_thread()?;
    let provider = PodIdentityProvider::from_lookup(|name| agent.lookup(name));
    runtime.block_on(provider.warm_up())?;

    let snapshot = nanoseconds_per_call(|| {
        black_box(provider.snapshot());
    });
    table.row("snapshot()", snapshot, "ns", Limit::AtMost(70.0));
    let allocated = allocation_counter::measure(|| {
        black_box(provider.snapshot());
    });
    table.row(
        "snapshot(): allocations",
        allocated.count_total as f64,
        "",
        Limit::AtMost(0.0),
    );
    let credentials = nanoseconds_per_call(|| at_once(provider.credentials()));
    table.row("credentials()", credentials, "ns", Limit::AtMost(70.0));
    let allocated = allocation_counter::measure(|| at_once(provider.credentials()));
    table.row(
        "credentials(): allocations",
        allocated.count_total as f64,
        "",
        Limit::AtMost(0.0),
    );

    let lazy = {
        let cache = IdentityCache::lazy().build();
        let shared = SharedCredentialsProvider::new(provider.clone());
        let resolver = SharedIdentityResolver::new(shared);
        let components = RuntimeComponentsBuilder::for_tests()
            .with_time_source(Some(SystemTimeSource::new()))
            .with_sleep_impl(Some(TokioSleep::new()))
            .build()?;
        let bag = ConfigBag::base();
        let hit = || cache.resolve_cached_identity(resolver.clone(), &components, &bag);
        runtime.block_on(async { hit().await })?;
        let _within = runtime.enter();
        nanoseconds_per_call(|| at_once(hit()))
    };
    table.row("SDK's lazy cache, a hit", lazy, "ns", Limit::None);

    let bare = runtime.block_on(provider.provide_credentials())?;
    let clone = nanoseconds_per_call(|| {
        black_box(bare.clone());
    });
    table.row("a clone of the SDK's Credentials", clone, "ns", Limit::None);
    // The trait's return type takes a part of its own, whoever implements it.
    let returned = nanoseconds_per_call(|| {
        at_once(future::ProvideCredentials::ready(Ok(bare.clone())));
    });
    table.row(
        "the same clone in the SDK's future",
        returned,
        "ns",
        Limit::None,
    );
    let one = provide(&provider);
    table.row(
        "provide_credentials()",
        one,
        "ns",
        Limit::AtMost((lazy / 2.0).min(clone + 15.0)),
    );
    table.row(
        "provide_credentials() beyond the SDK's future",
        one - returned,
        "ns",
        Limit::AtMost(15.0),
    );
    let two = thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(|| provide(&provider)));
        threads
            .map(|thread| thread.join().unwrap_or(f64::NAN))
            .iter()
            .sum::<f64>()
            / 2.0
    });
    table.row(
        "provide_credentials(), 2 threads",
        two,
        "ns",
        Limit::AtMost(one * 2.5),
    );
    Ok(())
}

/// One call on the hot path.
fn provide(provider: &PodIdentityProvider) -> f64 {
    nanoseconds_per_call(|| {
        at_once(provider.provide_credentials());
    })
}

/// Polls once what must be ready.
fn at_once(future: impl Future) {
    let mut context = Context::from_waker(Waker::noop());
    let polled = pin!(future).as_mut().poll(&mut context);
    assert!(black_box(polled).is_ready(), "the hot path must not wait");
}

/// One fetch.
fn fetches(agent: &LocalAgent, table: &mut Table) -> Result<()> {
    let output = child(agent, TURN_BY_TURN)?;
    let mut lines = output.lines().map(str::parse::<f64>);
    let (Some(ours), Some(fixed), Some(theirs)) = (lines.next(), lines.next(), lines.next()) else {
        return Err("three figures were expected".into());
    };
    let (ours, fixed, theirs) = (ours?, fixed?, theirs?);
    table.row("existing: one fetch, p50", theirs, "µs", Limit::None);
    table.row("one fetch, p50", ours, "µs", Limit::AtMost(theirs));
    table.row(
        "one fetch with a fixed token, p50",
        fixed,
        "µs",
        Limit::None,
    );
    Ok(())
}

/// In the child: all fetch turn by turn, so that they meet the same disturbances. The fetch with a fixed token
/// tells what reading the token file costs, which takes a thread.
fn turn_by_turn() -> Result<ExitCode> {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let ours = PodIdentityProvider::builder()
        .clock(clock.clone())
        .build()?;
    let token = env::args().nth(2).ok_or("the token's path is missing")?;
    let token = fs::read_to_string(token)?;
    let fixed = PodIdentityProvider::builder()
        .clock(clock.clone())
        .token(Secret::from(token))
        .build()?;
    let existing = EcsCredentialsProvider::builder().build();
    let (mut our_times, mut fixed_times, mut their_times) = (Vec::new(), Vec::new(), Vec::new());
    current_thread()?.block_on(async {
        ours.warm_up().await?;
        fixed.warm_up().await?;
        existing.provide_credentials().await?;
        for _fetch in 0..FETCHES {
            // A second apart, or the limit of four fetches a second would be measured.
            clock.advance(Duration::from_secs(1));
            let began = Instant::now();
            ours.refresh_now().await?;
            our_times.push(began.elapsed());
            let began = Instant::now();
            fixed.refresh_now().await?;
            fixed_times.push(began.elapsed());
            let began = Instant::now();
            existing.provide_credentials().await?;
            their_times.push(began.elapsed());
        }
        Result::Ok(())
    })?;
    for times in [our_times, fixed_times, their_times] {
        writeln!(io::stdout(), "{}", micros(median(times)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// First credentials in a process of its own, turn by turn.
fn starts(agent: &LocalAgent, table: &mut Table) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _start in 0..STARTS {
        ours.push(start(agent, COLD_OURS)?);
        theirs.push(start(agent, COLD_EXISTING)?);
    }
    table.row(
        "existing: first credentials, cold",
        micros(median(theirs)),
        "µs",
        Limit::None,
    );
    table.row(
        "first credentials, cold",
        micros(median(ours)),
        "µs",
        Limit::AtMost(1000.0),
    );
    Ok(())
}

fn start(agent: &LocalAgent, which: &str) -> Result<Duration> {
    let nanos = child(agent, which)?.trim().parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// What this program prints, run again in a pod's environment to measure something.
fn child(agent: &LocalAgent, what: &str) -> Result<String> {
    output(start_child(agent, what)?, what)
}

fn start_child(agent: &LocalAgent, what: &str) -> Result<Child> {
    let mut child = Command::new(env::current_exe()?);
    let token = agent.lookup(TOKEN_FILE).unwrap_or_default();
    child.args([what, &token]).envs(agent.environment());
    Ok(child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

fn output(child: Child, what: &str) -> Result<String> {
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// In the child: from the beginning of `main` to the first credentials.
fn cold(began: Instant, provider: impl ProvideCredentials) -> Result<ExitCode> {
    current_thread()?.block_on(provider.provide_credentials())?;
    writeln!(io::stdout(), "{}", began.elapsed().as_nanos())?;
    Ok(ExitCode::SUCCESS)
}

/// In the child: how often a minute the process is woken while a provider holds credentials and nobody asks.
fn idle() -> Result<ExitCode> {
    let (ready, warmed_up) = mpsc::channel();
    // On a thread of its own, whose runtime has no timer of the bench.
    thread::spawn(move || {
        let warm_up = async {
            let provider = PodIdentityProvider::from_env();
            provider.warm_up().await?;
            ready.send(fs::read_link("/proc/thread-self")?)?;
            pending::<Result<()>>().await
        };
        current_thread()?.block_on(warm_up)
    });
    let thread = warmed_up.recv()?;
    // The connection is closed after 5 s, and a thread of the runtime ends after 10 s.
    let _nothing = warmed_up.recv_timeout(Duration::from_secs(15));
    let before = voluntary_switches(&thread)?;
    let _nothing = warmed_up.recv_timeout(IDLE_FOR);
    let woken = voluntary_switches(&thread)? - before;
    writeln!(
        io::stdout(),
        "{}",
        woken as f64 / IDLE_FOR.as_secs_f64() * 60.0
    )?;
    Ok(ExitCode::SUCCESS)
}

/// How often a thread has waited for something.
fn voluntary_switches(thread: &Path) -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(thread).join("status"))?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(count
        .ok_or("the kernel does not count switches")?
        .trim()
        .parse()?)
}

/// What a provider keeps while it holds credentials and rests.
fn memory(agent: &LocalAgent, table: &mut Table) -> Result<()> {
    let runtime = current_thread()?;
    let mut kept = None;
    let measured = allocation_counter::measure(|| {
        let provider = PodIdentityProvider::from_lookup(|name| agent.lookup(name));
        kept = Some(runtime.block_on(provider.warm_up()).map(|()| provider));
    });
    kept.ok_or("nothing was measured")??;
    let kib = measured.bytes_current as f64 / 1024.0;
    table.row(
        "memory of an idle provider",
        kib,
        "KiB",
        Limit::AtMost(64.0),
    );

    let mut many = Vec::with_capacity(MANY);
    let measured = allocation_counter::measure(|| {
        many.extend((0..MANY).map(|_each| {
            let provider = PodIdentityProvider::from_lookup(|name| agent.lookup(name));
            runtime.block_on(provider.warm_up()).map(|()| provider)
        }));
    });
    many.into_iter()
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let kib = measured.bytes_current as f64 / 1024.0 / MANY as f64;
    table.row(
        "memory of each of 1,000 idle providers",
        kib,
        "KiB",
        Limit::AtMost(64.0),
    );
    Ok(())
}

fn current_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

const COLD_OURS: &str = "cold-ours";
const COLD_EXISTING: &str = "cold-existing";
const TURN_BY_TURN: &str = "turn-by-turn";
const IDLE: &str = "idle";
/// Two of the longest sleeps of a provider.
const IDLE_FOR: Duration = Duration::from_secs(540);
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const FETCHES: usize = 1000;
const MANY: usize = 1000;
const STARTS: usize = 41;
