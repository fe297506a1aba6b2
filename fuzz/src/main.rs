//! Inputs nobody thought of: each target gets the files of its corpus, and then mutations of them.
//!
//! A target panics if a property does not hold. `cargo test --workspace` runs a fixed number of inputs of a fixed
//! seed, so that the same code has the same outcome; `just fuzz` searches for as long as one wants. Both take names
//! of targets, as libtest takes filters.

#![allow(clippy::indexing_slicing, reason = "a check fails by a panic")]

mod campaign;
mod corpus;
mod mutate;
mod targets;

use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, io};

use campaign::{Campaign, Length, collect_panics};
use targets::TARGETS;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Cargo passes the arguments of libtest to every test.
    if arguments
        .iter()
        .any(|it| it == "--list" || it == "--ignored")
    {
        return Ok(ExitCode::SUCCESS);
    }
    if lookup(targets::credentials::URI).is_none() {
        // aws-config reads the environment of the process, which a running process must not change.
        let program = env::current_exe()?;
        let environment = (targets::credentials::URI, targets::credentials::URI_VALUE);
        let status = Command::new(program)
            .args(arguments)
            .envs([environment])
            .status()?;
        return Ok(ExitCode::from(if status.success() { 0 } else { 1 }));
    }
    let names: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(*part));
    let seconds =
        lookup("FUZZ_SECONDS").map(|text| text.parse().expect("FUZZ_SECONDS must be a number"));
    let given = lookup("FUZZ_SEED").map(|text| text.parse().expect("FUZZ_SEED must be a number"));
    let times = lookup("FUZZ_TIMES").map_or(1, |text| {
        text.parse::<usize>().expect("FUZZ_TIMES must be a number")
    });
    let targets: Vec<_> = TARGETS
        .iter()
        .filter(|target| chosen(target.name))
        .collect();
    if targets.is_empty() && seconds.is_some() {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return Err(io::Error::other(format!(
            "no such target; there are {}",
            known.join(", ")
        )));
    }
    collect_panics();
    let mut held = true;
    for target in targets {
        let (length, seed) = match seconds {
            Some(seconds) => (
                Length::Time(Duration::from_secs(seconds)),
                given.unwrap_or_else(|| fastrand::u64(..)),
            ),
            None => (
                Length::Cases(target.cases.saturating_mul(times)),
                given.unwrap_or(0),
            ),
        };
        held &= Campaign::new(target, seed)?.run(length)?;
    }
    Ok(ExitCode::from(if held { 0 } else { 1 }))
}

#[expect(clippy::disallowed_methods, reason = "this is the edge of the program")]
fn lookup(name: &str) -> Option<String> {
    env::var(name).ok()
}
