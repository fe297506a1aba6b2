use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use pod_identity_testkit::MockEksAuth;
use rustix::process::{Pid, Signal, kill_process};
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, getuid, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::log::says;
use super::soon;

/// The program as a process, with no variable of our environment but `PATH`. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    /// Its working directory and temporary directory, because a killed process leaves files.
    scratch: TempDir,
    /// Where it was copied to.
    folder: Option<TempDir>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// Its exit code and output.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Temporary files that it left.
    pub(crate) litter: usize,
}

impl Program {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(PROGRAM), arguments, environment)
    }

    /// Starts it with a limit of open files, which it cannot raise.
    pub(crate) fn with_open_files(
        limit: usize,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, PROGRAM]);
        Self::spawn(shell, arguments, environment)
    }

    /// Starts it with a limit of threads. There is none for root, so it runs as another user then.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_threads(limit: usize, arguments: &[&str]) -> Self {
        // Where that user may read it.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("pod-identity-agent");
        // By another process: a child that this one forks meanwhile would have it open to write.
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "0755", PROGRAM]).arg(&program).status();
        assert!(installed.unwrap().success());
        let all_may_enter = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), all_may_enter).unwrap();
        let mut shell = Command::new("prlimit");
        shell.arg(format!("--nproc={limit}"));
        if getuid().is_root() {
            // Of each process of these tests another one, who has no other processes.
            let user = 20_000 + std::process::id() % 40_000;
            shell.arg("setpriv").arg(format!("--reuid={user}"));
            shell.arg("--clear-groups");
        }
        shell.arg(&program);
        let mut started = Self::spawn(shell, arguments, &[]);
        started.folder = Some(folder);
        started
    }

    /// Starts it with its own `/etc/resolv.conf`, which requires root.
    pub(crate) fn with_resolver(
        configuration: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut shell = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        shell.args(["--mount", "sh", "-c", script]);
        shell.arg(configuration).arg(PROGRAM);
        Self::spawn(shell, arguments, environment)
    }

    /// Under another program, which gets the path of ours and the arguments.
    pub(crate) fn under(
        mut command: Command,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        command.arg(PROGRAM);
        Self::spawn(command, arguments, environment)
    }

    fn spawn(mut command: Command, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("PATH", env!("PATH"))
            .env("TMPDIR", scratch.path())
            .current_dir(scratch.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdout: Output::of(child.stdout.take().unwrap()),
            stderr: Output::of(child.stderr.take().unwrap()),
            child,
            scratch,
            folder: None,
        }
    }

    /// Runs it until it exits.
    pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        Self::start(arguments, environment).end().await
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it must be running")
    }

    /// Limits its open files from now on; those that it has open stay so.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_open_files(&self, most: u64) {
        let pid = Pid::from_raw(self.id().cast_signed());
        let limit = Rlimit {
            current: Some(most),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.id();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits until it exits, and reads the rest of its output.
    pub(crate) async fn end(mut self) -> Ended {
        let status = soon(self.child.wait()).await.unwrap();
        Ended {
            code: status.code(),
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
            litter: std::fs::read_dir(self.scratch.path()).unwrap().count(),
        }
    }
}

impl Ended {
    /// Asserts that the output is one line that names cause and remedy, and nothing else.
    #[track_caller]
    pub(crate) fn assert_one_line(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("pod-identity-agent: "), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part} in {self:?}");
        }
    }
}

/// The output of a process, line by line.
pub(crate) struct Output {
    lines: watch::Receiver<Vec<String>>,
    reads: watch::Sender<bool>,
    reading: JoinSet<()>,
}

impl Output {
    fn of(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (written, lines) = watch::channel(Vec::new());
        let (reads, mut may_read) = watch::channel(true);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Some(line) = stream.next_line().await.unwrap() {
                written.send_modify(|lines| lines.push(line));
                // The pipe stays open meanwhile.
                let _dropped = may_read.wait_for(|may| *may).await;
            }
        });
        Self {
            lines,
            reads,
            reading,
        }
    }

    /// Sets whether the pipe is read from the next line on. If not, it fills.
    pub(crate) fn read(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// Waits for a line.
    pub(crate) async fn line(&self, wanted: impl Fn(&str) -> bool + Send + Sync) -> String {
        let find = |lines: &Vec<String>| lines.iter().find(|line| wanted(line)).cloned();
        let mut lines = self.lines.clone();
        let found = soon(lines.wait_for(|lines| find(lines).is_some())).await;
        match found {
            Ok(lines) => find(&lines).unwrap(),
            Err(_ended) => panic!("it ended with {:#?}", self.lines.borrow()),
        }
    }

    /// Waits for a log line.
    pub(crate) async fn says(&self, msg: &str) -> Value {
        let line = self.line(|line| parse(line).is_some_and(|line| says(&line, msg)));
        parse(&line.await).unwrap()
    }

    /// Waits for this many log lines whose `msg` begins with this text.
    pub(crate) async fn says_times(&self, count: usize, msg: &str) {
        let mut lines = self.lines.clone();
        let enough = lines.wait_for(|lines| that_say(lines, msg).len() >= count);
        soon(enough).await.expect("it must not end");
    }

    /// Returns the log lines so far whose `msg` begins with this text.
    pub(crate) fn said(&self, msg: &str) -> Vec<Value> {
        that_say(&self.lines.borrow(), msg)
    }

    /// Returns the whole output, after it has ended.
    async fn all(&mut self) -> String {
        self.read(true);
        while soon(self.reading.join_next()).await.is_some() {}
        let lines = self.lines.borrow();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn that_say(lines: &[String], msg: &str) -> Vec<Value> {
    let lines = lines.iter().filter_map(|line| parse(line));
    lines.filter(|line| says(line, msg)).collect()
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

/// `server` on loopback, on free ports, with a mock of EKS Auth.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) credentials: SocketAddr,
    pub(crate) probes: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Server {
    pub(crate) async fn start(eks: &MockEksAuth, more: &[&str]) -> Self {
        Self::with(eks, more, &NODE_CREDENTIALS).await
    }

    pub(crate) async fn with(
        eks: &MockEksAuth,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let endpoint = eks.endpoint();
        let arguments = arguments(eks.cluster(), &endpoint);
        let arguments = [&arguments[..], &[PODS_ON_LOOPBACK], more].concat();
        let environment = [environment, &[REGION, NO_IMDS]].concat();
        Self::of(Program::start(&arguments, &environment)).await
    }

    /// Starts it with a limit of open files.
    pub(crate) async fn with_open_files(eks: &MockEksAuth, limit: usize) -> Self {
        let endpoint = eks.endpoint();
        let arguments = arguments(eks.cluster(), &endpoint);
        let arguments = [&arguments[..], &[PODS_ON_LOOPBACK]].concat();
        let environment = [&NODE_CREDENTIALS[..], &[REGION, NO_IMDS]].concat();
        Self::of(Program::with_open_files(limit, &arguments, &environment)).await
    }

    async fn of(program: Program) -> Self {
        Self {
            credentials: address_at(&program, "credentials", Ipv4Addr::LOCALHOST.into()).await,
            probes: address_of(&program, "probes").await,
            metrics: address_of(&program, "metrics").await,
            program,
        }
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_pod-identity-agent");

/// A command line on loopback and free ports.
pub(crate) fn arguments<'a>(cluster: &'a str, endpoint: &'a str) -> [&'a str; 15] {
    let loopback = "127.0.0.1";
    [
        "server",
        "--cluster-name",
        cluster,
        "--endpoint",
        endpoint,
        "--bind-hosts",
        loopback,
        "--port",
        "0",
        "--probe-port",
        "0",
        "--metrics-address",
        loopback,
        "--metrics-port",
        "0",
    ]
}

/// Pods of tests have addresses of loopback, which must not count as the node's.
const PODS_ON_LOOPBACK: &str = "--node-ranges=::1/128";

/// Waits until this listener listens.
pub(crate) async fn address_of(program: &Program, listener: &str) -> SocketAddr {
    listening(program, listener, |_address| true).await
}

/// Waits until this listener listens at this address.
pub(crate) async fn address_at(program: &Program, listener: &str, address: IpAddr) -> SocketAddr {
    listening(program, listener, |at| at.ip() == address).await
}

async fn listening(
    program: &Program,
    listener: &str,
    is_wanted: impl Fn(SocketAddr) -> bool + Send + Sync,
) -> SocketAddr {
    let address = |line: &str| -> Option<SocketAddr> {
        let line = parse(line)?;
        let is_it = says(&line, "listening") && line["listener"] == listener;
        let address = line["address"].as_str()?.parse().ok()?;
        (is_it && is_wanted(address)).then_some(address)
    };
    let line = program.stdout.line(|line| address(line).is_some()).await;
    address(&line).unwrap()
}

pub(crate) const NODE_SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYNODESECRETKEY";

pub(crate) const NODE_CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIANODE"),
    ("AWS_SECRET_ACCESS_KEY", NODE_SECRET),
];

const REGION: (&str, &str) = ("AWS_REGION", "us-west-2");

/// Without credentials, the agent must not use those of the machine.
const NO_IMDS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
