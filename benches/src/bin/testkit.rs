//! The testkit: how fast its mocks start, how many of them there can be, and what part of a suite they
//! take.
//!
//! `cargo run --release -p pod-identity-benches --bin testkit`

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use pod_identity_benches::{Connection, Limit, Table, median, percentile};
use pod_identity_core::{Clock, SystemClock};
use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{BlockingMockAgent, Fault, MockAgent, MockEksAuth, TokenPolicy};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<ExitCode> {
    match env::args().nth(1).as_deref() {
        Some(COLD_AGENT) => return tell([micros(runtime()?.block_on(first_agent())?)]),
        Some(COLD_EKS) => return tell([micros(runtime()?.block_on(first_eks())?)]),
        Some(CROWD) => return tell(runtime()?.block_on(crowd())?),
        Some(SUITE) => return tell(suite()?),
        _ => {}
    }
    let mut table = Table::default();
    starts(&mut table)?;
    many(&mut table)?;
    share(&mut table)?;
    Ok(table.print()?)
}

/// From nothing to the first answer, in process.
fn starts(table: &mut Table) -> Result<()> {
    let (mut agents, mut eks) = (Vec::new(), Vec::new());
    for _start in 0..STARTS {
        agents.push(runtime()?.block_on(first_agent())?);
        eks.push(runtime()?.block_on(first_eks())?);
    }
    for (mock, times, cold) in [
        ("MockAgent", agents, COLD_AGENT),
        ("MockEksAuth", eks, COLD_EKS),
    ] {
        let what = format!("{mock}: start to first answer, p50");
        let (p50, p99) = (median(times.clone()), percentile(times, 0.99));
        table.row(&what, micros(p50), "µs", Limit::AtMost(2000.0));
        table.row("  p99", micros(p99), "µs", Limit::None);
        let first = first_of_a_process(cold)?;
        table.row("  the first of its process, p50", first, "µs", Limit::None);
    }
    Ok(())
}

fn first_of_a_process(cold: &str) -> Result<f64> {
    let mut firsts = Vec::new();
    for _process in 0..PROCESSES {
        let [first] = child(cold)?;
        firsts.push(first);
    }
    firsts.sort_by(f64::total_cmp);
    Ok(firsts.get(PROCESSES / 2).copied().unwrap_or(f64::NAN))
}

async fn first_agent() -> Result<Duration> {
    let began = Instant::now();
    let agent = MockAgent::start().await;
    let token = agent.token();
    let mut client = connect(agent.address()).await?;
    let (status, _) = client.ask(token.expose()).await?;
    let took = began.elapsed();
    expect(status)?;
    Ok(took)
}

async fn first_eks() -> Result<Duration> {
    let began = Instant::now();
    let eks = MockEksAuth::start().await;
    eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
    let token = eks.issuer().token("shop", "cart").mint(SystemClock.now());
    let mut client = connect(eks.address()).await?;
    let body = format!("{{\"token\":\"{token}\"}}");
    let request = format!(
        "POST /clusters/{}/assume-role-for-pod-identity HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260301/us-west-2/eks-auth/aws4_request\r\n\
         Content-Length: {}\r\n\r\n{body}",
        eks.cluster(),
        body.len()
    );
    let status = client.exchange(request.as_bytes()).await?;
    let took = began.elapsed();
    expect(status)?;
    Ok(took)
}

async fn connect(address: SocketAddr) -> io::Result<Connection> {
    Connection::open(Ipv4Addr::LOCALHOST.into(), address).await
}

fn expect(status: u16) -> Result<()> {
    match status {
        200 => Ok(()),
        other => Err(format!("answered {other}").into()),
    }
}

/// Many at once, in a process of their own.
fn many(table: &mut Table) -> Result<()> {
    let [started, answered, answers, kib, files] = child(CROWD)?;
    let all = AGENTS as f64;
    table.row(
        "1,000 agents at once: started in",
        started,
        "ms",
        Limit::None,
    );
    table.row("  one answer of each, in turn", answered, "ms", Limit::None);
    table.row("  answers", answers, "", Limit::AtLeast(all));
    table.row("  memory of each", kib / all, "KiB", Limit::None);
    // The listener of each, and what its runtime has.
    let limit = Limit::AtMost(5.0 * all + 24.0);
    table.row("  open files", files, "", limit);
    Ok(())
}

async fn crowd() -> Result<[f64; 5]> {
    // What the first one makes for all.
    first_agent().await?;
    let memory = resident()?;
    let began = Instant::now();
    let mut agents = Vec::new();
    for _agent in 0..AGENTS {
        agents.push(MockAgent::start().await);
    }
    let started = began.elapsed();
    let began = Instant::now();
    let (mut answers, mut last) = (0, None);
    for agent in &agents {
        let mut client = connect(agent.address()).await?;
        let (status, _) = client.ask(agent.token().expose()).await?;
        expect(status)?;
        answers += agent.served().len();
        last = Some(client);
    }
    let answered = began.elapsed();
    let files = open_files()?;
    drop(last);
    let kib = resident()? - memory;
    Ok([
        millis(started),
        millis(answered),
        answers as f64,
        kib,
        files as f64,
    ])
}

/// What part of a suite is the testkit's.
fn share(table: &mut Table) -> Result<()> {
    let [mut wall, mut cpu, mut testkit] = [f64::INFINITY; 3];
    for _run in 0..RUNS {
        // The least of each, because what disturbs a measurement only ever makes it longer.
        let run: [f64; 3] = child(SUITE)?;
        wall = wall.min(run[0]);
        cpu = cpu.min(run[1]);
        testkit = testkit.min(run[2]);
    }
    let each = |millis: f64| 1000.0 * millis / TESTS as f64;
    table.row("500 tests: each takes", each(wall), "µs", Limit::None);
    table.row("  CPU time of each", each(cpu), "µs", Limit::None);
    table.row("  of it the testkit's", each(testkit), "µs", Limit::None);
    let of_time = 100.0 * testkit / wall;
    table.row(
        "  the testkit's part of the time",
        of_time,
        "%",
        Limit::AtMost(5.0),
    );
    let of_cpu = 100.0 * testkit / cpu;
    table.row(
        "  the testkit's part of the CPU time",
        of_cpu,
        "%",
        Limit::None,
    );
    Ok(())
}

/// Tests one after another, each on a thread of its own as in a test binary. The testkit's is all CPU
/// time but that which the tests spend outside of its methods: its servers have threads of their own.
fn suite() -> Result<[f64; 3]> {
    let began = Instant::now();
    let (cpu, harness) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
    let mut tests = Duration::ZERO;
    for number in 0..TESTS {
        let test = match number % 3 {
            0 => fetches,
            1 => rotates,
            _ => meets_a_fault,
        };
        let run = move || {
            let mut kit = Kit::default();
            test(&mut kit).map(|()| self::cpu(ClockId::ThreadCPUTime) - kit.calls)
        };
        tests += thread::spawn(run)
            .join()
            .map_err(|_panic| "a test failed")??;
    }
    let cpu = self::cpu(ClockId::ProcessCPUTime) - cpu;
    let harness = self::cpu(ClockId::ThreadCPUTime) - harness;
    Ok([began.elapsed(), cpu, cpu - tests - harness].map(millis))
}

/// What a test does with the testkit, and the CPU time that this takes.
#[derive(Default)]
struct Kit {
    calls: Duration,
}

impl Kit {
    fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let began = cpu(ClockId::ThreadCPUTime);
        let done = call();
        self.calls += cpu(ClockId::ThreadCPUTime) - began;
        done
    }
}

fn fetches(kit: &mut Kit) -> Result<()> {
    let agent = kit.call(MockAgent::start_blocking);
    let provider = provider(&agent);
    let credentials = runtime()?.block_on(provider.credentials())?;
    let served = kit.call(|| agent.served());
    assert_eq!(served, [credentials.access_key_id()]);
    kit.call(|| drop(agent));
    Ok(())
}

fn rotates(kit: &mut Kit) -> Result<()> {
    let agent = kit.call(|| {
        let agent = MockAgent::builder().token_policy(TokenPolicy::Current);
        agent.start_blocking()
    })?;
    let runtime = runtime()?;
    let provider = provider(&agent);
    runtime.block_on(provider.credentials())?;
    kit.call(|| agent.rotate());
    runtime.block_on(provider.refresh_now())?;
    assert_eq!(kit.call(|| agent.request_count()), 2);
    kit.call(|| drop(agent));
    Ok(())
}

fn meets_a_fault(kit: &mut Kit) -> Result<()> {
    let agent = kit.call(MockAgent::start_blocking);
    kit.call(|| agent.inject(Fault::status(503)));
    let provider = provider(&agent);
    runtime()?.block_on(provider.credentials())?;
    assert_eq!(kit.call(|| agent.request_count()), 2);
    kit.call(|| drop(agent));
    Ok(())
}

fn provider(agent: &BlockingMockAgent) -> PodIdentityProvider {
    PodIdentityProvider::from_lookup(agent.lookup())
}

fn cpu(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::try_from(time).unwrap_or_default()
}

/// What this program prints, run again to measure something: one figure a line.
fn child<const N: usize>(what: &str) -> Result<[f64; N]> {
    let output = Command::new(env::current_exe()?).arg(what).output()?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    let figures: std::result::Result<Vec<f64>, _> = printed.lines().map(str::parse).collect();
    Ok(figures?
        .try_into()
        .map_err(|_other| "another number of figures was expected")?)
}

fn tell<const N: usize>(figures: [f64; N]) -> Result<ExitCode> {
    for figure in figures {
        writeln!(io::stdout(), "{figure}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The memory of this process, in KiB.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse()?)
}

fn open_files() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

fn millis(duration: Duration) -> f64 {
    micros(duration) / 1000.0
}

const COLD_AGENT: &str = "cold-agent";
const COLD_EKS: &str = "cold-eks";
const CROWD: &str = "crowd";
const SUITE: &str = "suite";
const STARTS: usize = 500;
const PROCESSES: usize = 21;
const AGENTS: usize = 1000;
const RUNS: usize = 5;
const TESTS: usize = 500;
