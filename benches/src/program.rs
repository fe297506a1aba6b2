use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server as a process. Dropping it kills the process.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// The agent, ours or one that takes the same flags, on free ports of loopback.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent(path: &Path, endpoint: &str, more: &[&str]) -> io::Result<Self> {
        let [credentials, probes, metrics] = [free_port()?, free_port()?, free_port()?];
        let mut command = Command::new(path);
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
            address: (Ipv4Addr::LOCALHOST, port).into(),
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The memory that it occupies now, in MiB: `VmRSS`.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn memory(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let kib = lines
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| io::Error::other("no VmRSS"))
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

/// Returns a free port. If another process takes it before it is used, the bench fails.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
