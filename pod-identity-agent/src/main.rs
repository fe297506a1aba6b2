//! The node agent of Amazon EKS Pod Identity. See `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pod_identity_agent::cli::run(std::env::args_os())
}
