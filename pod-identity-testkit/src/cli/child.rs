use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::{ExitCode, ExitStatus};

use clap::Args;
use tokio::process::{Child, Command};

use super::agent::Mock;
use super::environment;
use super::signals::Signals;

/// The flags of `run`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    mock: Mock,
    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command in a pod's environment and returns its exit code; 128 and the signal's number where
/// a signal ended it, 127 and 126 where it was not found or could not be started, as shells do.
///
/// When we are asked to stop, so is the command, and its end is ours.
///
/// # Errors
/// When the mock cannot be started.
pub(super) async fn run(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let no_proxy = environment::no_proxy();
    let agent = options.mock.builder(0).await?.start().await?;
    let environment = options.mock.environment(&agent, no_proxy.as_deref());

    let mut words = options.command.into_iter();
    let program = words.next().unwrap_or_default();
    let mut command = std::process::Command::new(&program);
    command.args(words);
    environment.apply_to(&mut command);
    let mut child = match Command::from(command).kill_on_drop(true).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(not_started(&program, &error)),
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = signals.terminate() => {
            terminate(&mut child);
            child.wait().await
        }
    };
    Ok(exit_code(status?))
}

fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    let name = super::NAME;
    let program = program.display();
    let _unwritten = writeln!(io::stderr(), "{name}: cannot run {program}: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::from(127),
        _ => ExitCode::from(126),
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended already, and then there is nothing to ask.
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ended = child.start_kill();
}

fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let by_signal =
        std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    #[cfg(not(unix))]
    let by_signal = None;
    let code = status.code().or(by_signal).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
