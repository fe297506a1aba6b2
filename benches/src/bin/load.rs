//! The agent under load, as fast as it answers: hits, misses and both, from 1 to 256 connections, and restarts of up
//! to 2,000 pods at once before an EKS Auth that grants 200 exchanges per second. All of it without limits, and within
//! cgroups of 100 and 50 millicores and 64 MiB. Where `PEER_AGENT` names the program of another agent, each figure is
//! measured with both in turn.
//!
//! `target/release/load "$(image/program)"`; as root for the cgroups. Further arguments select settings, and parts of
//! them, as in `… unlimited 50m` or `… 100m restarts`.

use std::collections::HashMap;
use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pod_identity_benches::{
    Cgroup, Connection, Limit, Page, Result, Table, Target, Upstream, connected, peer, percentile,
    pod,
};
use pod_identity_figure::{Figure, Line};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let ours = match arguments.next() {
        Some(path) => PathBuf::from(path),
        None => env::current_exe()?.with_file_name("pod-identity-agent"),
    };
    let chosen: Vec<String> = arguments.collect();
    let settings = SETTINGS.map(|setting| setting.name);
    let known = [settings.as_slice(), &PARTS].concat();
    if let Some(other) = chosen.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no setting or part {other}; there are {known:?}").into());
    }
    let is_chosen = |name: &str, among: &[&str]| {
        let mut of_kind = chosen.iter().filter(|name| among.contains(&name.as_str()));
        of_kind.clone().next().is_none() || of_kind.any(|chosen| chosen == name)
    };
    let parts = PARTS.map(|part| is_chosen(part, &PARTS));
    let mut agents = vec![Agent {
        name: "this agent",
        program: ours,
    }];
    agents.extend(peer().map(|program| Agent {
        name: "the other",
        program,
    }));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut report = Report::default();
        for setting in &SETTINGS {
            if !is_chosen(setting.name, &settings) {
                continue;
            }
            report.say(&format!("\n### {}\n", setting.title))?;
            // It is made anew for each agent.
            match setting.cgroup().map(drop) {
                Ok(()) => {
                    let [load, restarts] = parts;
                    if load {
                        measure_load(setting, &agents, &mut report).await?;
                    }
                    if restarts {
                        measure_restarts(setting, &agents, &mut report).await?;
                    }
                }
                Err(error) => report.say(&format!("Not measured: no such cgroup: {error}\n"))?,
            }
        }
        report.finish()
    })
}

struct Agent {
    name: &'static str,
    program: PathBuf,
}

/// What the agent may use.
struct Setting {
    name: &'static str,
    title: &'static str,
    millicores: Option<u32>,
    /// Of one measurement. A quota is of 100 ms, and many of them have to pass.
    time: Duration,
}

impl Setting {
    fn cgroup(&self) -> std::io::Result<Option<Cgroup>> {
        let limited = self.millicores.map(|share| Cgroup::new(share, MEBIBYTES));
        limited.transpose()
    }
}

async fn measure_load(setting: &Setting, agents: &[Agent], report: &mut Report) -> Result<()> {
    let mut tails = HashMap::new();
    for (kind, _lines) in KINDS {
        report.say(&format!("\n#### {}\n\n{CELLS}", kind.title()))?;
        for connections in CONNECTIONS {
            for (number, agent) in agents.iter().enumerate() {
                let tail: &mut Vec<f64> = tails.entry((number, kind)).or_default();
                let what = format!("{}, {} of {connections}", setting.name, kind.title());
                match Load::run(setting, &agent.program, kind, connections).await {
                    Ok(load) => {
                        report.say(&load.row(connections, agent.name))?;
                        tail.push(load.percentile(0.99));
                        // Within limits an agent may have more to do than it can: then it says so in time.
                        if number == 0 && setting.millicores.is_none() {
                            report.refused(&what, load.refused + load.broken);
                        }
                    }
                    Err(error) => {
                        report.say(&format!("| {connections} | {} | {error} |\n", agent.name))?;
                        tail.push(f64::NAN);
                        report.failed(&what, number);
                    }
                }
            }
        }
    }
    let lines = KINDS.into_iter().flat_map(|(kind, styles)| {
        let styles = styles.into_iter().enumerate();
        styles.map(move |(number, (label, colour))| ((number, kind), label, colour))
    });
    let lines = lines.filter_map(|(whose, label, colour)| {
        Some(Line {
            label,
            colour,
            values: tails.remove(&whose)?,
        })
    });
    let figure = Figure {
        title: &format!("99 % of answers take at most; {}", setting.title),
        unit: "ms, over the number of connections",
        scale: scale(&CONNECTIONS),
        lines: lines.collect(),
    };
    report.figure(&format!("load-{}", setting.name), &figure)
}

async fn measure_restarts(setting: &Setting, agents: &[Agent], report: &mut Report) -> Result<()> {
    report.say(&format!("\n#### Restarts\n\n{STORMS}"))?;
    let mut times = vec![Vec::new(); agents.len()];
    for pods in PODS {
        for (number, (agent, times)) in agents.iter().zip(&mut times).enumerate() {
            let what = format!("{}, a restart of {pods} pods", setting.name);
            match Storm::run(setting, &agent.program, pods).await {
                Ok(storm) => {
                    report.say(&storm.row(pods, agent.name))?;
                    times.push(storm.last.map_or(f64::NAN, |last| last.as_secs_f64()));
                    if number == 0 && storm.without > 0 {
                        report.failed(&what, number);
                    }
                }
                Err(error) => {
                    report.say(&format!("| {pods} | {} | {error} |\n", agent.name))?;
                    times.push(f64::NAN);
                    report.failed(&what, number);
                }
            }
        }
    }
    let lines = agents.iter().zip(times).zip(AGENT_COLOURS);
    let figure = Figure {
        title: &format!("Until all pods have credentials; {}", setting.title),
        unit: "s, over the number of pods that start at once",
        scale: scale(&PODS),
        lines: lines
            .map(|((agent, values), colour)| Line {
                label: agent.name,
                colour,
                values,
            })
            .collect(),
    };
    report.figure(&format!("restart-{}", setting.name), &figure)
}

fn scale(places: &[usize]) -> Vec<(usize, String)> {
    let labels = places.iter().map(ToString::to_string);
    labels.enumerate().collect()
}

/// What the requests are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Each connection is a pod whose credentials are held.
    Hits,
    /// Each request has a token that the agent has not seen.
    Misses,
    /// Every tenth has.
    Mixed,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Hits => "hits",
            Self::Misses => "misses",
            Self::Mixed => "nine hits and a miss",
        }
    }

    fn is_new(self, request: usize) -> bool {
        match self {
            Self::Hits => false,
            Self::Misses => true,
            Self::Mixed => request % 10 == 9,
        }
    }
}

/// Connections that each send the next request when the last is answered.
struct Load {
    times: Vec<Duration>,
    elapsed: Duration,
    cpu: Duration,
    memory: f64,
    exchanges: usize,
    /// Answers that are not 200.
    refused: u64,
    /// Requests without an answer.
    broken: u64,
}

impl Load {
    async fn run(
        setting: &Setting,
        program: &Path,
        kind: Kind,
        connections: usize,
    ) -> Result<Self> {
        let cgroup = setting.cgroup()?;
        let eks = Arc::new(Upstream::start(Duration::ZERO).await?);
        let agent = eks.before(program, budget(program), cgroup.as_ref())?;
        connected(&agent).await?;
        let mut warming = JoinSet::new();
        for number in 0..connections {
            let (target, token) = (agent.target(), eks.token(number));
            warming.spawn(async move { warm(&target, number, &token).await });
        }
        let warmed = warming.join_all().await;

        let (exchanges, cpu) = (eks.mock.request_count(), agent.cpu()?);
        let refused = agent.refused();
        let began = Instant::now();
        let (next, end) = (Arc::new(AtomicUsize::new(NEW)), began + setting.time);
        let mut asking = JoinSet::new();
        for (number, connection) in warmed.into_iter().enumerate() {
            let pod = Pod {
                number,
                target: agent.target(),
                eks: Arc::clone(&eks),
                next: Arc::clone(&next),
            };
            asking.spawn(pod.ask(kind, connection, end));
        }
        let (mut times, mut broken) = (Vec::new(), 0);
        while let Some(asked) = asking.join_next().await {
            let (took, without_answer) = asked?;
            times.extend(took);
            broken += without_answer;
        }
        Ok(Self {
            times,
            elapsed: began.elapsed(),
            cpu: agent.cpu()?.saturating_sub(cpu),
            memory: agent.memory()?,
            exchanges: eks.mock.request_count() - exchanges,
            refused: agent.refused() - refused,
            broken,
        })
    }

    /// In milliseconds; not a number where too few answers were measured to say.
    fn percentile(&self, share: f64) -> f64 {
        let beyond = self.times.len() as f64 * (1.0 - share);
        if beyond < 0.99 {
            return f64::NAN;
        }
        percentile(self.times.clone(), share).as_secs_f64() * 1e3
    }

    fn row(&self, connections: usize, agent: &str) -> String {
        let answers = self.times.len().max(1) as f64;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| match self.percentile(share) {
            unknown if unknown.is_nan() => "–".to_owned(),
            millis => format!("{millis:.2}"),
        });
        format!(
            "| {connections} | {agent} | {:.0} | {p50} | {p99} | {p999} | {:.1} | {:.1} | {:.3} | {} |\n",
            answers / self.elapsed.as_secs_f64(),
            self.cpu.as_secs_f64() * 1e6 / answers,
            self.memory,
            self.exchanges as f64 / answers,
            self.refused + self.broken,
        )
    }
}

/// Another agent has its own flag, or none, for how many exchanges one pod may cause.
fn budget(program: &Path) -> &'static [&'static str] {
    if peer().is_some_and(|peer| peer == program) {
        &[]
    } else {
        &["--pod-budget=1000000/1000000"]
    }
}

/// Connects, and asks until there are credentials; gives up after some time, with an agent that refuses them.
async fn warm(target: &Target, number: usize, token: &str) -> Option<Connection> {
    let began = Instant::now();
    while began.elapsed() < WARMING {
        if let Ok(mut connection) = target.connect(pod(number)).await {
            while began.elapsed() < WARMING {
                match timeout(PATIENCE, connection.ask(token)).await {
                    Ok(Ok((200, _took))) => return Some(connection),
                    Ok(Ok(_refused)) => sleep(Duration::from_millis(100)).await,
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    None
}

struct Pod {
    number: usize,
    target: Target,
    eks: Arc<Upstream>,
    next: Arc<AtomicUsize>,
}

impl Pod {
    /// Returns the times of all answers, and how many requests had none.
    async fn ask(
        self,
        kind: Kind,
        mut connection: Option<Connection>,
        end: Instant,
    ) -> (Vec<Duration>, u64) {
        let (mut times, mut broken) = (Vec::new(), 0);
        let own = self.eks.token(self.number);
        let mut request = self.number;
        while Instant::now() < end {
            request += 1;
            let token = if kind.is_new(request) {
                // Only its uniqueness counts.
                self.eks.token(self.next.fetch_add(1, Ordering::Relaxed))
            } else {
                own.clone()
            };
            let mut open = match connection.take() {
                Some(open) => open,
                None => match self.target.connect(pod(self.number)).await {
                    Ok(open) => open,
                    Err(_refused) => {
                        broken += 1;
                        sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            match timeout(PATIENCE, open.ask(&token)).await {
                Ok(Ok((_status, took))) => {
                    times.push(took);
                    connection = Some(open);
                }
                Ok(Err(_)) | Err(_) => broken += 1,
            }
        }
        (times, broken)
    }
}

/// Many pods ask an agent that has just started, until each has credentials.
struct Storm {
    half: Option<Duration>,
    last: Option<Duration>,
    without: usize,
    exchanges: usize,
    refused: u64,
    cpu: Duration,
    memory: f64,
}

impl Storm {
    async fn run(setting: &Setting, program: &Path, pods: usize) -> Result<Self> {
        let cgroup = setting.cgroup()?;
        let eks = Upstream::limited(Duration::from_millis(50), PER_SECOND).await?;
        let tokens: Vec<String> = (0..pods).map(|number| eks.token(number)).collect();
        let agent = eks.before(program, &[], cgroup.as_ref())?;
        let began = Instant::now();
        let mut starting = JoinSet::new();
        for (number, token) in tokens.into_iter().enumerate() {
            let target = agent.target();
            starting.spawn(async move {
                timeout(STORM, start(&target, number, &token))
                    .await
                    .is_ok()
                    .then(|| began.elapsed())
            });
        }
        let started = starting.join_all().await;
        let mut times: Vec<Duration> = started.into_iter().flatten().collect();
        times.sort_unstable();
        let without = pods - times.len();
        Ok(Self {
            half: times.get(pods / 2).copied(),
            last: times.last().copied().filter(|_| without == 0),
            without,
            exchanges: eks.mock.request_count(),
            refused: agent.refused(),
            cpu: agent.cpu()?,
            memory: agent.peak_memory()?,
        })
    }

    fn row(&self, pods: usize, agent: &str) -> String {
        let shown = |time: Option<Duration>| {
            time.map_or("–".to_owned(), |time| {
                format!("{:.1}", time.as_secs_f64())
            })
        };
        let (half, last) = (shown(self.half), shown(self.last));
        let (without, refused) = (self.without, self.refused);
        format!(
            "| {pods} | {agent} | {half} | {last} | {without} | {} | {refused} | {:.2} | {:.1} |\n",
            self.exchanges,
            self.cpu.as_secs_f64(),
            self.memory,
        )
    }
}

/// As an SDK: a request has two seconds, and the next follows after a pause of up to one.
async fn start(target: &Target, number: usize, token: &str) {
    // Another for each pod, and the same in each run.
    let mut pauses = (1..).map(|turn: usize| Duration::from_millis((turn * 100).min(500) as u64));
    let shift = Duration::from_millis((number * 7919 % 500) as u64);
    loop {
        if let Ok(Ok(mut connection)) = timeout(PATIENCE, target.connect(pod(number))).await
            && let Ok(Ok((200, _took))) = timeout(PATIENCE, connection.ask(token)).await
        {
            return;
        }
        sleep(pauses.next().unwrap_or_default() + shift).await;
    }
}

/// What goes to standard output, and to the page.
#[derive(Default)]
struct Report {
    markdown: String,
    table: Table,
}

impl Report {
    fn say(&mut self, text: &str) -> Result<()> {
        self.markdown.push_str(text);
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn figure(&mut self, name: &str, figure: &Figure<'_>) -> Result<()> {
        if let Some(page) = Page::wanted() {
            page.figure(name, &figure.draw())?;
            let title = figure.title;
            writeln!(self.markdown, "\n![{title}](benchmarks/{name}.svg)")?;
        }
        Ok(())
    }

    /// Ours must answer all.
    fn refused(&mut self, what: &str, count: u64) {
        if count > 0 {
            let what = format!("{what}: not answered with 200");
            self.table.row(&what, count as f64, "", Limit::AtMost(0.0));
        }
    }

    /// The first agent is ours.
    fn failed(&mut self, what: &str, agent: usize) {
        if agent == 0 {
            self.refused(what, 1);
        }
    }

    fn finish(self) -> Result<ExitCode> {
        let failed = self.table.print()?;
        if let Some(page) = Page::wanted() {
            page.write("load", &self.markdown)?;
        }
        Ok(failed)
    }
}

const SETTINGS: [Setting; 3] = [
    Setting {
        name: "unlimited",
        title: "without limits",
        millicores: None,
        time: Duration::from_millis(1500),
    },
    Setting {
        name: "100m",
        title: "100 millicores, 64 MiB",
        millicores: Some(100),
        time: Duration::from_secs(3),
    },
    Setting {
        name: "50m",
        title: "50 millicores, 64 MiB",
        millicores: Some(50),
        time: Duration::from_secs(3),
    },
];
const PARTS: [&str; 2] = ["load", "restarts"];
const MEBIBYTES: u64 = 64;
const CONNECTIONS: [usize; 5] = [1, 4, 16, 64, 256];
const PODS: [usize; 4] = [100, 500, 1000, 2000];
/// Exchanges that EKS Auth grants, and as many at once.
const PER_SECOND: u32 = 200;
/// Tokens of requests that must miss are counted from here.
const NEW: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(2);
const WARMING: Duration = Duration::from_secs(15);
const STORM: Duration = Duration::from_secs(60);
const CELLS: &str = "| connections | | answers/s | p50 ms | p99 ms | p99.9 ms | CPU of each µs | memory MiB | exchanges per answer | not 200 |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
const STORMS: &str = "| pods | | half s | all s | without | exchanges | not 200 | CPU s | most memory MiB |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|\n";
const AGENT_COLOURS: [&str; 2] = ["#1f5fa8", "#c0504d"];
const KINDS: [(Kind, [(&str, &str); 2]); 3] = [
    (
        Kind::Hits,
        [("hits", "#1f5fa8"), ("hits, the other", "#8fb4de")],
    ),
    (
        Kind::Misses,
        [("misses", "#c0504d"), ("misses, the other", "#e3a8a6")],
    ),
    (
        Kind::Mixed,
        [
            ("nine hits and a miss", "#4f8f3f"),
            ("nine hits and a miss, the other", "#a9cf9f"),
        ],
    ),
];
