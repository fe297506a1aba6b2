use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use tokio::time::Instant;

/// A cgroup with the limits that a container has. Dropping it removes the cgroup, whose programs must have ended.
#[derive(Debug)]
pub struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Creates one, with what the kernel has: version 2, or version 1 with a hierarchy for each controller.
    ///
    /// # Errors
    /// When this process may not create cgroups, or where the kernel has no limits of processor and memory.
    pub fn new(millicores: u32, mebibytes: u64) -> io::Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("pod-identity-bench-{}", process::id());
        // As kubelet sets them: the share of each 100 ms.
        let (quota, period) = (millicores * PERIOD / 1000, PERIOD);
        let memory = (mebibytes << 20).to_string();
        if root.join("cgroup.controllers").exists() {
            let folder = root.join(name);
            // It may be set already, and then it may not be ours to set.
            let _enabled = fs::write(root.join("cgroup.subtree_control"), "+cpu +memory");
            fs::create_dir(&folder)?;
            let cgroup = Self {
                folders: vec![folder.clone()],
            };
            fs::write(folder.join("cpu.max"), format!("{quota} {period}"))?;
            fs::write(folder.join("memory.max"), &memory)?;
            return Ok(cgroup);
        }
        let mut cgroup = Self {
            folders: Vec::new(),
        };
        for (controller, settings) in [
            (
                "cpu",
                [
                    ("cpu.cfs_period_us", period.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ]
                .as_slice(),
            ),
            ("memory", &[("memory.limit_in_bytes", memory)]),
        ] {
            let folder = root.join(controller).join(&name);
            fs::create_dir(&folder)?;
            cgroup.folders.push(folder.clone());
            for (setting, value) in settings {
                fs::write(folder.join(setting), value)?;
            }
        }
        Ok(cgroup)
    }

    /// A command whose program, and nothing else, is in the cgroup from its first instruction on.
    pub(crate) fn command(&self, program: &Path) -> Command {
        // A program can be put into a cgroup by itself or when it runs already. The shell does the first, and
        // becomes the program.
        let mut command = Command::new("/bin/sh");
        let folders = self.folders.len().to_string();
        command.args(["-c", ENTER, "sh", &folders]);
        command.args(&self.folders).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let began = Instant::now();
        for folder in &self.folders {
            // The kernel may still be taking the last threads away.
            while fs::remove_dir(folder).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
                && began.elapsed() < Duration::from_secs(2)
            {
                std::thread::yield_now();
            }
        }
    }
}

const ENTER: &str = r#"count=$1; shift
while [ "$count" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit; shift; count=$((count - 1)); done
exec "$@""#;
/// Microseconds.
const PERIOD: u32 = 100_000;
