use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::process::{ExitCode, ExitStatus};

use tokio::process::{Child, Command};

use super::environment::Environment;

/// Runs the command in a pod's environment and returns its exit code; 128 and the signal's number where
/// a signal ended it, as shells do.
///
/// When we are asked to stop, so is the command, and its end is ours.
///
/// # Errors
/// When the command cannot be started.
pub(super) async fn run(
    program: &OsStr,
    arguments: &[OsString],
    environment: &Environment,
    stop: impl Future<Output = ()>,
) -> io::Result<ExitCode> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    for name in &environment.unset {
        command.env_remove(name);
    }
    command.envs(environment.set.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot run {}: {error}", program.display()),
        )
    })?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop => {
            terminate(&mut child);
            child.wait().await
        }
    };
    Ok(exit_code(status?))
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
