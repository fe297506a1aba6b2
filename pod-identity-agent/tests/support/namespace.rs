use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A network of its own, with loopback only. Dropping it removes it.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// `None` for whoever is not root, with a line that says so.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tested: this takes root");
            return None;
        }
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec sleep 3600",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Some(Self { holder })
    }

    /// A command that runs what follows in this network.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command.arg("--");
        command
    }

    /// Runs a script of `sh`, in which `$0` is the program. Returns its exit code and all that it wrote.
    pub(crate) fn run(&self, script: &str) -> (Option<i32>, String) {
        let output = self.output(script);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The same, with one JSON object on standard output.
    pub(crate) fn json(&self, script: &str) -> (Option<i32>, Value) {
        let output = self.output(script);
        let value = serde_json::from_slice(&output.stdout);
        (output.status.code(), value.expect(script))
    }

    fn output(&self, script: &str) -> Output {
        let mut command = self.command();
        command
            .args(["sh", "-c", script, PROGRAM])
            .output()
            .unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_pod-identity-agent");
