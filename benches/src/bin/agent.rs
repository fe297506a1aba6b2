//! The agent as a process, before a mock of EKS Auth on loopback, beside a bare server and, where
//! `PEER_AGENT` names the program, another agent that takes the same flags.
//!
//! `cargo build --release -p pod-identity-benches -p pod-identity-agent && target/release/agent`
//!
//! The program is the sibling `pod-identity-agent`, or what the first argument names. The others name
//! what is measured, as in `throughput memory`; without them it is everything.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pod_identity_agent::Budget;
use pod_identity_benches::{
    Connection, Limit, Program, Result, Table, Upstream, connected, credentials, free_port, median,
    peer, percentile, pod, warm,
};
use pod_identity_core::wire::agent;
use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::{MockApiServer, Operation};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next();
    let more: Vec<String> = arguments.collect();
    if let (Some(BARE), [port]) = (path.as_deref(), &more[..]) {
        return bare(port.parse()?);
    }
    let ours = match path {
        Some(path) => PathBuf::from(path),
        None => env::current_exe()?.with_file_name("pod-identity-agent"),
    };
    let parts = if more.is_empty() {
        Part::ALL.to_vec()
    } else {
        more.iter()
            .map(|name| Part::named(name))
            .collect::<Result<_>>()?
    };
    Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(&ours, &parts))
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Size,
    Start,
    Hits,
    Throughput,
    Misses,
    Tokens,
    Crowd,
    Scale,
    Memory,
    Watch,
    Floods,
}

impl Part {
    const ALL: [Self; 11] = [
        Self::Size,
        Self::Start,
        Self::Hits,
        Self::Throughput,
        Self::Misses,
        Self::Tokens,
        Self::Crowd,
        Self::Scale,
        Self::Memory,
        Self::Watch,
        Self::Floods,
    ];

    fn named(name: &str) -> Result<Self> {
        let named = |part: &Self| format!("{part:?}").eq_ignore_ascii_case(name);
        let known = Self::ALL.into_iter().find(named);
        known.ok_or_else(|| format!("there is no part {name}; there are {:?}", Self::ALL).into())
    }
}

async fn measure(ours: &Path, parts: &[Part]) -> Result<ExitCode> {
    let peer = peer();
    let ours = Side::Ours(ours);
    let sides: Vec<Side> = [ours]
        .into_iter()
        .chain(peer.as_deref().map(Side::Peer))
        .collect();
    let mut table = Table::default();
    for part in parts {
        match part {
            Part::Size => {
                for side in &sides {
                    let size = std::fs::metadata(side.program())?.len() as f64 / MIB;
                    let limit = Limit::AtMost(20.0);
                    side.row(&mut table, "size of the program", size, "MiB", limit);
                }
            }
            Part::Start => {
                for side in &sides {
                    starts(*side, &mut table).await?;
                }
            }
            Part::Hits => {
                let mut each = Vec::new();
                for side in &sides {
                    each.push(hits(*side, &mut table).await?);
                }
                if let [per_hit, theirs] = each[..] {
                    table.row(
                        "CPU of a hit, of the other agent's",
                        per_hit / theirs * 100.0,
                        "%",
                        Limit::AtMost(100.0 / 3.0),
                    );
                }
            }
            Part::Throughput => throughput(ours, &mut table).await?,
            Part::Misses => {
                for side in &sides {
                    misses(*side, &mut table).await?;
                }
            }
            Part::Tokens => tokens(ours.program(), &mut table).await?,
            Part::Crowd => {
                for side in &sides {
                    crowd(*side, &mut table).await?;
                }
            }
            Part::Scale => {
                for side in &sides {
                    scale(*side, &mut table).await?;
                }
            }
            Part::Memory => {
                for side in &sides {
                    memory(*side, &mut table).await?;
                }
            }
            Part::Watch => watch(ours.program(), &mut table).await?,
            Part::Floods => {
                for side in &sides {
                    floods(*side, &mut table).await?;
                }
            }
        }
    }
    Ok(table.print()?)
}

/// One of the agents that are measured.
#[derive(Clone, Copy)]
enum Side<'a> {
    Ours(&'a Path),
    /// What it does has no limits. It may refuse what the bench asks for.
    Peer(&'a Path),
}

impl<'a> Side<'a> {
    fn program(self) -> &'a Path {
        let (Self::Ours(program) | Self::Peer(program)) = self;
        program
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Ours(_))
    }

    fn row(self, table: &mut Table, what: &str, measured: f64, unit: &'static str, limit: Limit) {
        match self {
            Self::Ours(_) => table.row(what, measured, unit, limit),
            Self::Peer(_) => table.row_of_peer(what, measured, unit),
        }
    }

    /// Counts the answers that are not 200. Where there are any, the other figures are not those of successes, and the
    /// table says of how many. Ours must have none.
    fn refusals(self, part: &str, agent: &Program, table: &mut Table) {
        let refused = agent.refused() as f64;
        if refused > 0.0 {
            let what = format!("{part}: answers that are not 200");
            self.row(table, &what, refused, "", Limit::AtMost(0.0));
        }
    }
}

/// From exec to the first answer, and to the first credentials.
async fn starts(side: Side<'_>, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let (mut answers, mut credentials) = (Vec::new(), Vec::new());
    for number in 0..STARTS {
        let began = Instant::now();
        let agent = eks.before(side.program(), &[], None)?;
        let mut connection = connected(&agent).await?;
        connection
            .exchange(b"GET / HTTP/1.1\r\nHost: 169.254.170.23\r\n\r\n")
            .await?;
        answers.push(began.elapsed());
        connection.ask(&eks.token(number)).await?;
        credentials.push(began.elapsed());
        side.refusals("exec to first credentials", &agent, table);
    }
    side.row(
        table,
        "exec to first answer, p50",
        millis(median(answers)),
        "ms",
        Limit::AtMost(30.0),
    );
    side.row(
        table,
        "exec to first credentials, p50",
        millis(median(credentials)),
        "ms",
        Limit::None,
    );
    Ok(())
}

/// Cached hits at 900 per second: processor time of one, and the slowest.
async fn hits(side: Side<'_>, table: &mut Table) -> Result<f64> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let agent = eks.before(side.program(), &[], None)?;
    let mut connections = warm(&agent, &eks, CONNECTIONS).await?;
    // One look at what the first hits cost, so that it does not count.
    steadily(&mut connections, &eks, Duration::from_secs(1)).await?;
    let before = agent.cpu()?;
    let times = steadily(&mut connections, &eks, Duration::from_secs(8)).await?;
    let spent = agent.cpu()? - before;
    let per_hit = micros(spent) / times.len() as f64;
    side.row(table, "a hit at 900/s: CPU", per_hit, "µs", Limit::None);
    let p99 = millis(percentile(times, 0.99));
    side.row(table, "a hit at 900/s: p99", p99, "ms", Limit::None);
    side.refusals("a hit at 900/s", &agent, table);
    Ok(per_hit)
}

/// Asks at 900 per second, in turn over all connections.
async fn steadily(
    connections: &mut Vec<Connection>,
    eks: &Upstream,
    time: Duration,
) -> Result<Vec<Duration>> {
    let each = Duration::from_secs(1) * connections.len() as u32 / 900;
    let rounds = (time.as_secs_f64() / each.as_secs_f64()) as u32;
    let token = eks.token(0);
    let mut asking = JoinSet::new();
    for (number, mut connection) in connections.drain(..).enumerate() {
        let token = token.clone();
        let offset = each * number as u32 / CONNECTIONS as u32;
        asking.spawn(async move {
            let mut times = Vec::new();
            let mut ticks = interval(each);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            sleep_until(Instant::now() + offset).await;
            for _round in 0..rounds {
                ticks.tick().await;
                let (_status, took) = connection.ask(&token).await?;
                times.push(took);
            }
            Ok::<_, Box<dyn Error + Send + Sync>>((connection, times))
        });
    }
    let mut all = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let (connection, times) = asked??;
        connections.push(connection);
        all.extend(times);
    }
    Ok(all)
}

/// As many cached hits as will go, beside a bare server that writes the same bytes; turn by turn.
async fn throughput(side: Side<'_>, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let agent = eks.before(side.program(), &[], None)?;
    let port = free_port()?;
    let mut command = Command::new(env::current_exe()?);
    let bare = Program::start(command.args([BARE, &port.to_string()]), port)?;
    let mut turns = Vec::new();
    for _turn in 0..TURNS {
        turns.push((rate(&agent, &eks).await?, rate(&bare, &eks).await?));
    }
    let (ours, bare): (Vec<Rate>, Vec<Rate>) = turns.iter().copied().unzip();
    // What else a machine does comes and goes, so each turn is compared with its neighbour.
    let ratios = turns
        .iter()
        .map(|(ours, bare)| ours.per_second / bare.per_second * 100.0);
    let ratio = middle(ratios.collect());
    let per_second = |rates: &[Rate]| middle(rates.iter().map(|rate| rate.per_second).collect());
    let cpu = |rates: &[Rate]| middle(rates.iter().map(|rate| rate.cpu).collect());
    table.row(
        "bare server: answers per second",
        per_second(&bare),
        "",
        Limit::None,
    );
    let of_bare = cpu(&bare);
    table.row("bare server: CPU of each", of_bare, "µs", Limit::None);
    side.refusals("hits", &agent, table);
    table.row("hits per second", per_second(&ours), "", Limit::None);
    table.row("hits: CPU of each", cpu(&ours), "µs", Limit::None);
    table.row(
        "hits, of the bare server's",
        ratio,
        "%",
        Limit::AtLeast(85.0),
    );
    Ok(())
}

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    /// Of the server, for each answer, in microseconds.
    cpu: f64,
}

async fn rate(server: &Program, eks: &Upstream) -> Result<Rate> {
    const TIME: Duration = Duration::from_secs(1);
    let connections = warm(server, eks, CONNECTIONS).await?;
    let before = server.cpu()?;
    let token = eks.token(0);
    let request: Bytes = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n\r\n"
    )
    .into();
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for mut connection in connections {
        let request = request.clone();
        asking.spawn(async move {
            let mut answers = 0_u32;
            while began.elapsed() < TIME {
                answers += u32::from(connection.ask_as(&request).await? == 200);
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(answers)
        });
    }
    let mut answers = 0;
    while let Some(asked) = asking.join_next().await {
        answers += asked??;
    }
    let spent = server.cpu()?.saturating_sub(before);
    Ok(Rate {
        per_second: f64::from(answers) / began.elapsed().as_secs_f64(),
        cpu: micros(spent) / f64::from(answers),
    })
}

/// What the agent adds to EKS Auth's own time, turn by turn.
async fn misses(side: Side<'_>, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let agent = eks.before(side.program(), &[], None)?;
    warm(&agent, &eks, 1).await?;
    let mut upstream = Connection::open(pod(0), eks.mock.address()).await?;
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for number in 0..MISSES {
        let token = eks.token(number + 1);
        let mut connection = agent.connect(pod(number)).await?;
        let (_status, took) = connection.ask(&token).await?;
        through.push(took);
        let began = Instant::now();
        upstream.exchange(&eks.request(&token)).await?;
        direct.push(began.elapsed());
    }
    let (through, direct) = (median(through), median(direct));
    side.row(
        table,
        "EKS Auth itself, p50",
        micros(direct),
        "µs",
        Limit::None,
    );
    let added = micros(through.saturating_sub(direct));
    let limit = Limit::AtMost(1000.0);
    side.row(table, "added to a miss, p50", added, "µs", limit);
    side.refusals("misses", &agent, table);
    Ok(())
}

/// Tokens that the agent verifies itself: new ones of pods whose credentials are held, and forged ones.
async fn tokens(ours: &Path, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let issuer = eks.mock.endpoint();
    let flags = [
        "--oidc-issuer",
        &issuer,
        "--key-cache=off",
        "--pod-budget=100000/100000",
    ];
    let agent = eks.before(ours, &flags, None)?;
    let builder = |number: usize| {
        let pod = format!("cart-{}", number % PODS_WITH_NEW_TOKENS);
        eks.issuer.token("shop", "cart").pod(pod)
    };
    let mint = |number| builder(number).mint(SystemClock.now());
    let mut connection = connected(&agent).await?;
    let are_fetched = || {
        let requests = eks.mock.requests();
        let mut operations = requests.iter().map(|request| request.operation);
        operations.any(|operation| operation == Operation::JsonWebKeySet)
    };
    while !are_fetched() {
        settle().await;
    }
    // From the answer to the keys.
    settle().await;
    for number in 0..PODS_WITH_NEW_TOKENS {
        connection.ask(&mint(number)).await?;
    }

    let new: Vec<String> = (0..MISSES).map(mint).collect();
    let (mut times, cpu) = (Vec::new(), agent.cpu()?);
    for token in &new {
        let (_status, took) = connection.ask(token).await?;
        times.push(took);
    }
    let spent = agent.cpu()?.saturating_sub(cpu) / MISSES as u32;
    let took = micros(median(times));
    table.row(
        "a new token of a known pod, p50",
        took,
        "µs",
        Limit::AtMost(1000.0),
    );
    table.row("CPU of a new token", micros(spent), "µs", Limit::None);

    let forged = (0..FORGED).map(|number| builder(number).forged().mint(SystemClock.now()));
    let forged: Vec<String> = forged.collect();
    let cpu = agent.cpu()?;
    for token in &forged {
        let (status, _took) = connection.ask(token).await?;
        if status != 400 {
            return Err(format!("a forged token was answered with {status}").into());
        }
    }
    let spent = agent.cpu()?.saturating_sub(cpu) / FORGED as u32;
    table.row("CPU of a forged token", micros(spent), "µs", Limit::None);
    let per_second = f64::from(Budget::POD.burst).max(Budget::POD.per_second);
    table.row(
        "forged tokens of one pod: CPU of a second, at most",
        millis(spent) * per_second,
        "ms",
        Limit::AtMost(10.0),
    );

    let cpu = agent.cpu()?;
    for token in new.iter().cycle().take(FORGED) {
        connection.ask(token).await?;
    }
    let spent = agent.cpu()?.saturating_sub(cpu) / FORGED as u32;
    table.row(
        "CPU of a hit of a verified token",
        micros(spent),
        "µs",
        Limit::None,
    );
    let others = agent.refused().saturating_sub(FORGED as u64);
    if others > 0 {
        return Err(format!("{others} tokens that are not forged were refused").into());
    }
    Ok(())
}

/// A hundred clients with one token, before an EKS Auth that takes 20 ms.
async fn crowd(side: Side<'_>, table: &mut Table) -> Result<()> {
    let takes = Duration::from_millis(20);
    let eks = Upstream::start(takes).await?;
    let agent = eks.before(side.program(), &[], None)?;
    warm(&agent, &eks, 1).await?;
    let before = eks.mock.request_count();
    let mut times = Vec::new();
    for turn in 1..=5 {
        let token = eks.token(turn);
        let opened = (0..100).map(|number| agent.connect(pod(number)));
        let connections = try_join_all(opened).await?;
        let mut asking = JoinSet::new();
        for mut connection in connections {
            let token = token.clone();
            asking.spawn(async move { connection.ask(&token).await });
        }
        while let Some(asked) = asking.join_next().await {
            times.push(asked??.1);
        }
    }
    let over = millis(percentile(times, 0.5)) - millis(takes);
    let limit = Limit::AtMost(10.0);
    side.row(
        table,
        "100 at once, p50 over EKS Auth's 20 ms",
        over,
        "ms",
        limit,
    );
    let calls = (eks.mock.request_count() - before) as f64 / 5.0;
    side.row(table, "100 at once: exchanges", calls, "", Limit::None);
    side.refusals("100 at once", &agent, table);
    Ok(())
}

/// AWS's own scale gate, on one agent: 5,000 pods at 200 per second, EKS Auth taking 50 ms.
async fn scale(side: Side<'_>, table: &mut Table) -> Result<()> {
    const PODS: usize = 5000;
    let eks = Upstream::start(Duration::from_millis(50)).await?;
    let agent = eks.before(side.program(), &["--max-cache-size", "5000"], None)?;
    connected(&agent).await?;
    let tokens: Vec<String> = (0..PODS).map(|number| eks.token(number)).collect();
    let mut ticks = interval(Duration::from_secs(1) / 200);
    let mut asking = JoinSet::new();
    for (number, token) in tokens.into_iter().enumerate() {
        ticks.tick().await;
        let target = agent.target();
        asking.spawn(async move {
            let began = Instant::now();
            let asked = async {
                let mut connection = target.connect(pod(number)).await?;
                connection.ask(&token).await
            };
            let answered = asked.await.is_ok_and(|(status, _)| status == 200);
            (answered, began.elapsed())
        });
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(asked) = asking.join_next().await {
        let (answered, took) = asked?;
        failed += u32::from(!answered);
        times.push(took);
    }
    side.row(
        table,
        "5,000 pods at 200/s: failed",
        f64::from(failed),
        "",
        Limit::AtMost(0.0),
    );
    side.row(
        table,
        "5,000 pods at 200/s: p50",
        millis(percentile(times.clone(), 0.5)),
        "ms",
        Limit::None,
    );
    side.row(
        table,
        "5,000 pods at 200/s: p99.9",
        millis(percentile(times, 0.999)),
        "ms",
        Limit::AtMost(1000.0),
    );
    Ok(())
}

/// Idle, and with credentials fetched 50 at a time.
async fn memory(side: Side<'_>, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let agent = eks.before(side.program(), &["--max-cache-size", "20000"], None)?;
    connected(&agent).await?;
    settle().await;
    let idle = agent.memory()?;
    side.row(table, "memory: idle", idle, "MiB", Limit::AtMost(10.0));
    fetch(&agent, &eks, 0..2000).await?;
    settle().await;
    let some = agent.memory()?;
    let limit = Limit::AtMost(20.0);
    side.row(table, "memory: 2,000 credentials", some, "MiB", limit);
    if side.is_ours() {
        fetch(&agent, &eks, 2000..20_000).await?;
        settle().await;
        let many = agent.memory()?;
        table.row(
            "memory: 20,000 credentials",
            many,
            "MiB",
            Limit::AtMost(120.0),
        );
        let each = (many - some) * 1024.0 / 18_000.0;
        table.row("memory: each of them", each, "KiB", Limit::None);
    }
    side.refusals("memory", &agent, table);
    Ok(())
}

/// A node of 250 pods, of which ten change in each second.
async fn watch(ours: &Path, table: &mut Table) -> Result<()> {
    const PODS: usize = 250;
    const CHANGES: usize = 100;
    let api_server = MockApiServer::start().await;
    for number in 0..PODS {
        api_server.put_pod(pod_manifest(number));
    }
    let eks = Upstream::start(Duration::ZERO).await?;
    let (url, directory) = (api_server.url(), api_server.service_account_dir());
    let directory = directory.to_str().ok_or("a path that is not UTF-8")?;
    let flags = [
        "--key-cache=off",
        "--node-name",
        "node-1",
        "--kubernetes-api",
        &url,
    ];
    let flags = [&flags[..], &["--kubernetes-service-account", directory]].concat();
    let agent = eks.before(ours, &flags, None)?;
    connected(&agent).await?;
    settle().await;
    let (idle, start) = (agent.memory()?, agent.cpu()?);
    drop(agent);

    let agent = eks.before(
        ours,
        &[&flags[..], &["--pod-liveness-check"]].concat(),
        None,
    )?;
    connected(&agent).await?;
    let watching = api_server.wait_for_answers_of(Operation::WatchPods, 1);
    watching.await;
    settle().await;
    let added = agent.memory()? - idle;
    table.row(
        "watch of 250 pods: memory",
        added,
        "MiB",
        Limit::AtMost(4.0),
    );
    let before = agent.cpu()?;
    let listed = millis(before.saturating_sub(start));
    table.row(
        "watch of 250 pods: CPU of its start",
        listed,
        "ms",
        Limit::None,
    );
    let mut ticks = interval(Duration::from_secs(1) / 10);
    for number in 0..CHANGES {
        ticks.tick().await;
        api_server.put_pod(pod_manifest(number % PODS));
    }
    settle().await;
    let spent = micros(agent.cpu()? - before) / CHANGES as f64;
    table.row(
        "watch of 250 pods: CPU of a change",
        spent,
        "µs",
        Limit::AtMost(1000.0),
    );
    Ok(())
}

/// With 2.5 KB of metadata, as pods of Deployments have.
fn pod_manifest(number: usize) -> serde_json::Value {
    json!({
        "metadata": {
            "namespace": "shop",
            "name": format!("cart-{number}"),
            "annotations": {"example.com/notes": "n".repeat(500)},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "f".repeat(1800)}}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "i".repeat(2000)}]},
    })
}

async fn fetch(agent: &Program, eks: &Upstream, numbers: std::ops::Range<usize>) -> Result<()> {
    let numbers: Vec<usize> = numbers.collect();
    for fifty in numbers.chunks(50) {
        let mut asking = JoinSet::new();
        for number in fifty {
            let (source, target, token) = (pod(*number), agent.target(), eks.token(*number));
            asking.spawn(async move { target.connect(source).await?.ask(&token).await });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
    }
    Ok(())
}

/// The most memory while connections send headers without end, or nothing.
async fn floods(side: Side<'_>, table: &mut Table) -> Result<()> {
    let eks = Upstream::start(Duration::ZERO).await?;
    let agent = eks.before(side.program(), &[], None)?;
    connected(&agent).await?;
    let endless = Bytes::from(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(900_000)));
    let mut flooding = JoinSet::new();
    for number in 0..200 {
        let (source, target, endless) = (pod(number % 12), agent.target(), endless.clone());
        flooding.spawn(async move {
            let mut connection = target.connect(source).await.ok()?;
            // It may be cut off.
            let _sent = connection.send(&endless).await;
            Some(connection)
        });
    }
    let kept = flooding.join_all().await;
    let (limit, occupied) = (Limit::AtMost(24.0), agent.memory()?);
    side.row(table, "memory: 200 endless headers", occupied, "MiB", limit);
    drop(kept);
    drop(agent);

    let agent = eks.before(side.program(), &[], None)?;
    connected(&agent).await?;
    let mut silent = Vec::new();
    let mut most: f64 = 0.0;
    for number in 0..3000 {
        silent.push(agent.connect(pod(number % 12)).await?);
        if number % 100 == 99 {
            most = most.max(agent.memory()?);
        }
    }
    settle().await;
    most = most.max(agent.memory()?);
    side.row(
        table,
        "memory: 3,000 silent connections",
        most,
        "MiB",
        limit,
    );
    Ok(())
}

/// A server that answers everything with what the agent answers, and knows nothing. Its hyper is set as the agent's.
fn bare(port: u16) -> Result<ExitCode> {
    let body = Bytes::from_owner(agent::encode(&credentials()));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            connections.spawn(async move {
                let answer = service_fn(move |_request: Request<Incoming>| {
                    let mut response = Response::new(Full::new(body.clone()));
                    let headers = response.headers_mut();
                    headers.insert("content-type", HeaderValue::from_static("application/json"));
                    headers.insert("cache-control", HeaderValue::from_static("no-store"));
                    std::future::ready(Ok::<_, Infallible>(response))
                });
                // As the agent's: what these settings cost is not what the agent adds.
                let mut http = http1::Builder::new();
                http.max_buf_size(16 * 1024).max_headers(200).writev(false);
                http.serve_connection(TokioIo::new(stream), answer).await
            });
        }
    })
}

/// What a server frees, it frees within this.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

fn middle(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured
        .get(measured.len() / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

const BARE: &str = "bare";
const CONNECTIONS: usize = 10;
const MISSES: usize = 500;
const PODS_WITH_NEW_TOKENS: usize = 50;
const FORGED: usize = 5000;
const TURNS: usize = 31;
const MIB: f64 = 1024.0 * 1024.0;
const STARTS: usize = 15;
