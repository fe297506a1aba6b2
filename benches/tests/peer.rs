//! The benches beside another agent.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn what_another_agent_refuses_is_counted_and_ends_no_bench() {
    let refusing = env!("CARGO_BIN_EXE_refusing-agent");
    let output = Command::new(env!("CARGO_BIN_EXE_agent"))
        // It is also what is measured, which must not refuse.
        .args([refusing, "crowd"])
        .env("PEER_AGENT", refusing)
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let counted = |what: &str| {
        let row = table.lines().find_map(|row| row.strip_prefix(what));
        let row = row.unwrap_or_else(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            panic!("no row {what:?}:\n{table}\n{stderr}")
        });
        row.split_whitespace().collect::<Vec<_>>()
    };
    // One request and then five times a hundred.
    assert_eq!(
        counted("100 at once: answers that are not 200"),
        ["250.0", "250.0", "MISSES", "0.0"]
    );
    assert!(!output.status.success());
}
