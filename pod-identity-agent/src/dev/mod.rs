//! `dev`: everything that a pod on EKS has, on loopback, with one command.

mod child;
mod environment;
mod options;
mod sandbox;
mod switch;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use pod_identity_core::{Clock, SystemClock};
use tokio::task::JoinSet;
use tracing::info;

pub(crate) use options::Options;

use self::sandbox::Sandbox;
use self::switch::Switch;
use crate::node::signals::Signals;

/// Runs the agent until the command ends or, without one, until a signal.
///
/// # Errors
/// When the port is taken, the directory cannot be written, or the command cannot be started.
pub(crate) async fn run(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let sandbox = Sandbox::start(&options, SystemClock.now()).await?;
    let environment = sandbox.environment();
    let mut switch = Switch::new()?;

    let mut tasks = JoinSet::new();
    tasks.spawn(sandbox.agent.run(std::future::pending()));
    tasks.spawn(sandbox.tokens.keep_fresh());
    let command = options.command();
    if command.is_none() && io::stdin().is_terminal() {
        switch = switch.with_enter();
    }
    let eks_auth = sandbox.eks_auth;
    tasks.spawn(async move {
        let mut running = true;
        loop {
            switch.flipped().await;
            running = !running;
            if running {
                eks_auth.restart().await?;
                info!("the embedded EKS Auth is back");
            } else {
                eks_auth.stop().await;
                info!("the embedded EKS Auth is stopped; once more brings it back");
            }
        }
    });

    if options.json {
        writeln!(io::stdout(), "{}", environment.to_json())?;
    } else if command.is_none() {
        write!(io::stdout(), "{}", environment.to_shell())?;
    }
    let done = match command {
        Some((program, arguments)) => {
            child::run(program, arguments, &environment, signals.terminate()).await
        }
        None => {
            tokio::select! {
                () = signals.either() => Ok(ExitCode::SUCCESS),
                Some(ended) = tasks.join_next() => ended.map_err(io::Error::other)?.map(|()| ExitCode::SUCCESS),
            }
        }
    };
    tasks.shutdown().await;
    done
}
