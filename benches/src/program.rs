use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::load::Connection;

/// A server as a process. Dropping it kills the process.
#[derive(Debug)]
pub struct Program {
    child: Child,
    target: Target,
}

impl Program {
    /// The agent, ours or one that takes the same flags, on free ports of loopback, where one is given within the
    /// limits of a cgroup.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent(
        path: &Path,
        endpoint: &str,
        more: &[&str],
        within: Option<&Cgroup>,
    ) -> io::Result<Self> {
        let [credentials, probes, metrics] = [free_port()?, free_port()?, free_port()?];
        let mut command = match within {
            Some(cgroup) => cgroup.command(path),
            None => Command::new(path),
        };
        command
            .args(["server", "--cluster-name", "test-cluster"])
            .args(["--endpoint", endpoint, "--bind-hosts", "127.0.0.1"])
            .args(["--port", &credentials.to_string()])
            .args(["--probe-port", &probes.to_string()])
            .args(["--metrics-address", "127.0.0.1"])
            .args(["--metrics-port", &metrics.to_string()])
            .args(more)
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", "AKIANODE")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-secret")
            .env("AWS_REGION", "us-west-2")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        Self::start(&mut command, credentials)
    }

    /// Any command that will listen on this port of loopback.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, port: u16) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            target: Target {
                address: (Ipv4Addr::LOCALHOST, port).into(),
                refused: Arc::default(),
            },
        })
    }

    /// Where it serves.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Connects as a pod.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn connect(&self, source: IpAddr) -> io::Result<Connection> {
        self.target.connect(source).await
    }

    /// How many answers to requests for credentials were not 200.
    pub fn refused(&self) -> u64 {
        self.target.refused()
    }

    /// The memory that it occupies now, in MiB: `VmRSS`.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn memory(&self) -> io::Result<f64> {
        self.status("VmRSS:")
    }

    /// The most memory that it has occupied, in MiB: `VmHWM`.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn peak_memory(&self) -> io::Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, member: &str) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let kib = lines
            .find_map(|line| line.strip_prefix(member))
            .and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        // A program that has ended and was not waited for has no memory any more.
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| io::Error::other(self.end()))
    }

    /// Says how the program has ended.
    fn end(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The last field is the status for who waits for it; root may read it.
        let status = stat.ok().and_then(|stat| {
            let status = stat.trim_end().rsplit(' ').next()?;
            status.parse::<i32>().ok()
        });
        match status.map(ExitStatus::from_raw) {
            // Nobody but the kernel kills it.
            Some(status) if status.signal() == Some(SIGKILL) => {
                "the kernel has killed the program: it needed more memory than it may use"
                    .to_owned()
            }
            Some(status) => format!("the program has ended: {status}"),
            None => "the program has ended".to_owned(),
        }
    }

    /// The time that its threads have spent on a processor.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let spent = fs::read_to_string(task?.path().join("schedstat"))?;
            let spent = spent
                .split(' ')
                .next()
                .and_then(|spent| spent.parse::<u64>().ok());
            nanos += spent.ok_or_else(|| io::Error::other("no schedstat"))?;
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Where a program serves, and how many of its answers were not 200.
#[derive(Debug, Clone)]
pub struct Target {
    address: SocketAddr,
    refused: Arc<AtomicU64>,
}

impl Target {
    /// Connects as a pod.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn connect(&self, source: IpAddr) -> io::Result<Connection> {
        let connection = Connection::open(source, self.address).await?;
        Ok(connection.counting(Arc::clone(&self.refused)))
    }

    /// How many answers to requests for credentials were not 200.
    pub fn refused(&self) -> u64 {
        // Read when the requests have ended; nothing else depends on it.
        self.refused.load(Ordering::Relaxed)
    }
}

const SIGKILL: i32 = 9;

/// Returns a free port. If another process takes it before it is used, the bench fails.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
