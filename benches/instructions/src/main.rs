//! Instructions and allocations of one call on the hot paths of provider and slot, compared with `baseline.txt`.
//!
//! Valgrind counts instructions, which are the same on a busy machine and on a quiet one. Each case runs twice, with
//! a different number of calls, and the difference is divided by the further calls, so that the start of the
//! process does not count.
//!
//! `just instructions` compares and fails if a call costs more; `just instructions --bless` writes the baseline.

mod baseline;
mod cases;
mod valgrind;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::baseline::{Baseline, Cost};
use crate::cases::CASES;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(),
        ["--bless"] => {
            measure()?.write()?;
            Ok(ExitCode::SUCCESS)
        }
        // The process that valgrind watches.
        [CALL, case, calls] => {
            cases::find(case)?.call(calls.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("usage: instructions [--bless]".into()),
    }
}

fn check() -> Result<ExitCode> {
    let baseline = Baseline::read()?;
    let measured = measure()?;
    let comparison = measured.compare(&baseline);
    let mut out = io::stdout().lock();
    write!(out, "{measured}")?;
    for failure in &comparison.failures {
        writeln!(out, "{failure}")?;
    }
    for gain in &comparison.gains {
        writeln!(out, "cheaper, `just instructions --bless` keeps it: {gain}")?;
    }
    Ok(if comparison.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure() -> Result<Baseline> {
    let mut measured = Baseline::default();
    for case in CASES {
        let few = valgrind::instructions(case.name, FEW)?;
        let many = valgrind::instructions(case.name, FEW + case.calls)?;
        let cost = Cost {
            instructions: many.saturating_sub(few).div_ceil(u64::from(case.calls)),
            allocations: case.allocations()?,
        };
        measured.push(case.name, cost);
    }
    Ok(measured)
}

const CALL: &str = "call";

/// Calls of the shorter run: what is done only once has been done.
const FEW: u32 = 100;
