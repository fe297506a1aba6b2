use std::env;
use std::process::Command;

use crate::{CALL, Result};

/// Returns how many instructions a process of this program executes that makes this many calls.
pub(crate) fn instructions(case: &str, calls: u32) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([CALL, case, &calls.to_string()]);
    let output = valgrind.output().map_err(|error| {
        format!("valgrind cannot be started: {error}; apt-get install valgrind")
    })?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{case}: {report}").into());
    }
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .ok_or_else(|| format!("{case}: valgrind has reported no count: {report}"))?;
    Ok(collected.1.trim().parse()?)
}
