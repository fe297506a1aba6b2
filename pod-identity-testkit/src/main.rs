//! The mocks of Amazon EKS Pod Identity for tests in any language. See `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pod_identity_testkit::cli::run(std::env::args_os())
}
