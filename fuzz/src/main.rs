//! Inputs nobody thought of: each target gets the files of its corpus, and then mutations of them.
//!
//! A target panics if a property does not hold. `cargo test --workspace` runs a fixed number of inputs of a fixed
//! seed, so that the same code has the same outcome. It takes parts of the names of targets, as libtest does.

mod campaign;

use std::process::{Command, ExitCode};
use std::{env, io};

use campaign::{Campaign, collect_panics};
use pod_identity_fuzz::{TARGETS, URI, URI_VALUE};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Cargo passes the arguments of libtest to every test.
    if arguments
        .iter()
        .any(|it| it == "--list" || it == "--ignored")
    {
        return Ok(ExitCode::SUCCESS);
    }
    if lookup(URI).is_none() {
        // aws-config reads the environment of the process, which a running process must not change.
        let program = env::current_exe()?;
        let environment = (URI, URI_VALUE);
        let status = Command::new(program)
            .args(arguments)
            .envs([environment])
            .status()?;
        return Ok(ExitCode::from(if status.success() { 0 } else { 1 }));
    }
    let names: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(*part));
    let number = |name: &str, default: u64| {
        lookup(name).map_or(default, |text| match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{name} must be a number"),
        })
    };
    let (seed, times) = (number("FUZZ_SEED", 0), number("FUZZ_TIMES", 1));
    let targets: Vec<_> = TARGETS
        .iter()
        .filter(|target| chosen(target.name))
        .collect();
    collect_panics();
    let mut held = true;
    for target in targets {
        let cases = target.cases.saturating_mul(times);
        held &= Campaign::new(target, seed)?.run(cases)?;
    }
    Ok(ExitCode::from(if held { 0 } else { 1 }))
}

#[expect(clippy::disallowed_methods, reason = "this is the edge of the program")]
fn lookup(name: &str) -> Option<String> {
    env::var(name).ok()
}
