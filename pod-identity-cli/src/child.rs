use std::future::Future;
use std::io;
use std::process::{Command, ExitCode, ExitStatus};

use tokio::process::{Child, Command as AsyncCommand};

use crate::Failure;

/// Runs a command to its end and returns its exit code; 128 + n if signal n ended it, as shells do.
///
/// When `terminate` is ready, the child is sent SIGTERM and decides when to end. If the returned future is
/// dropped, the child is killed.
///
/// # Errors
/// Fails with exit code 127 if the command is not found and 126 if it cannot be executed, as shells do.
pub async fn run(
    command: Command,
    terminate: impl Future<Output = ()>,
) -> Result<ExitCode, Failure> {
    let mut command = AsyncCommand::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        let program = command.as_std().get_program().display();
        Failure::new(code, format!("cannot run {program}: {error}"))
    })?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = terminate => {
            ask_to_end(&mut child);
            child.wait().await
        }
    };
    Ok(exit_code(status?))
}

#[cfg(unix)]
fn ask_to_end(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended already.
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn ask_to_end(child: &mut Child) {
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
