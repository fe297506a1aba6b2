use std::io;
use std::process::{Command, ExitCode, ExitStatus};

use tokio::process::{Child, Command as AsyncCommand};

use crate::signals::Asked;
use crate::{Failure, Signals};

/// Runs a command to its end and returns its exit code; 128 + n if signal n ended it, as shells do.
///
/// SIGTERM is passed on to the command and to what it has started; the command decides when to end. So is SIGINT
/// without a terminal. If there is one, the command stays in the group of this program, so
/// that Ctrl-C and job control work on it; then only the command itself gets SIGTERM. If the returned future is dropped,
/// the command is killed.
///
/// # Errors
/// Fails with exit code 127 if the command is not found and 126 if it cannot be executed, as shells do.
pub async fn run(command: Command, signals: &mut Signals) -> Result<ExitCode, Failure> {
    let mut command = AsyncCommand::from(command);
    let group = Group::choose();
    group.apply_to(&mut command);
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        let program = command.as_std().get_program().display();
        Failure::new(code, format!("cannot run {program}: {error}"))
    })?;
    let mut is_terminated = false;
    let mut interrupt_returns = false;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_code(status?)),
            asked = signals.next() => match asked {
                // What this program has sent to its own group.
                Asked::Interrupt if interrupt_returns => interrupt_returns = false,
                Asked::Interrupt => interrupt_returns = group.interrupt(&child),
                // The first only: a signal to the group of this program comes back to this program.
                Asked::Terminate if is_terminated => {}
                Asked::Terminate => {
                    is_terminated = true;
                    group.terminate(&mut child);
                }
            },
        }
    }
}

/// Whose process group a command is in, and so which processes belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// There is a terminal, which knows the group of this program, and others may be in it: only the command itself.
    #[cfg(unix)]
    Terminal,
    /// This program leads its group, so all others in it come from the command. Whoever started this program, such as a
    /// harness with a session for each test, can kill the group as a whole.
    #[cfg(unix)]
    Program,
    /// The command leads a group.
    Command,
}

#[cfg(unix)]
impl Group {
    fn choose() -> Self {
        use rustix::process::{getpgrp, getpid};

        // It cannot be opened without a terminal that controls the process.
        match std::fs::File::open("/dev/tty") {
            Ok(_terminal) => Self::Terminal,
            Err(_none) if getpgrp() == getpid() => Self::Program,
            Err(_none) => Self::Command,
        }
    }

    fn apply_to(self, command: &mut AsyncCommand) {
        if self == Self::Command {
            command.process_group(0);
        }
    }

    fn terminate(self, child: &mut Child) {
        use rustix::process::{Signal, kill_current_process_group, kill_process};

        let Some(pid) = pid(child) else { return };
        // They may have ended already.
        let _ended = match self {
            Self::Terminal => kill_process(pid, Signal::TERM),
            Self::Program => kill_current_process_group(Signal::TERM),
            Self::Command => rustix::process::kill_process_group(pid, Signal::TERM),
        };
    }

    /// Returns whether the signal comes back to this program.
    fn interrupt(self, child: &Child) -> bool {
        use rustix::process::{Signal, kill_current_process_group, kill_process_group};

        let Some(pid) = pid(child) else { return false };
        match self {
            // The terminal has sent it to the command, too.
            Self::Terminal => false,
            Self::Program => kill_current_process_group(Signal::INT).is_ok(),
            Self::Command => {
                // They may have ended already.
                let _ended = kill_process_group(pid, Signal::INT);
                false
            }
        }
    }
}

/// `None` if the child has ended.
#[cfg(unix)]
fn pid(child: &Child) -> Option<rustix::process::Pid> {
    let pid = child.id()?;
    rustix::process::Pid::from_raw(pid.cast_signed())
}

#[cfg(not(unix))]
impl Group {
    fn choose() -> Self {
        Self::Command
    }

    fn apply_to(self, _command: &mut AsyncCommand) {}

    fn terminate(self, child: &mut Child) {
        let _ended = child.start_kill();
    }

    fn interrupt(self, _child: &Child) -> bool {
        false
    }
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
