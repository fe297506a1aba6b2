//! `dev`: everything that a pod on EKS has, on loopback, with one command.

mod options;
mod sandbox;
mod switch;

use std::io::{self, IsTerminal, Write};
use std::process::{self, ExitCode};

use pod_identity_cli::{Environment, Failure, Signals};
use pod_identity_core::{Clock, SystemClock, variables};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::info;

pub(crate) use options::Options;

use self::sandbox::Sandbox;
use self::switch::Switch;

/// Runs the agent until the command ends or, without one, until a signal.
///
/// # Errors
/// Fails if the port is taken, the directory cannot be written, or the command cannot be run.
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let sandbox = Sandbox::start(&options, SystemClock.now()).await?;
    let environment = sandbox.environment();
    let mut switch = Switch::new()?;
    let command = options.command(&environment);
    if command.is_none() && io::stdin().is_terminal() {
        switch = switch.with_enter();
    }
    if options.json {
        writeln!(io::stdout(), "{}", to_json(&environment, &sandbox))?;
    } else if command.is_none() {
        write!(io::stdout(), "{}", to_shell(&environment))?;
    }

    let mut tasks = JoinSet::new();
    tasks.spawn(sandbox.agent.run(std::future::pending()));
    tasks.spawn(sandbox.tokens.keep_fresh());
    let eks_auth = sandbox.eks_auth;
    tasks.spawn(async move {
        let mut running = true;
        loop {
            switch.flipped().await;
            running = !running;
            if running {
                eks_auth.restart().await?;
                info!("the embedded EKS Auth is started");
            } else {
                eks_auth.stop().await;
                info!("the embedded EKS Auth is stopped; repeat to start it again");
            }
        }
    });

    let done = match command {
        Some(command) => pod_identity_cli::run(command, &mut signals).await,
        None => {
            tokio::select! {
                () = signals.shutdown() => Ok(ExitCode::SUCCESS),
                Some(ended) = tasks.join_next() => {
                    ended.map_err(io::Error::other)??;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
    };
    tasks.shutdown().await;
    done
}

/// Lines for a POSIX shell; everything but commands is a comment, so that all of it can be sourced.
fn to_shell(environment: &Environment) -> String {
    let pid = process::id();
    let mut shell = "# The agent is ready. A pod's environment, for a shell:\n".to_owned();
    shell.push_str(&environment.to_shell());
    shell.push_str("\n# Two commands to try in it:\n");
    for command in TO_TRY {
        shell.push_str(&format!("#   {command}\n"));
    }
    shell.push_str(&format!(
        "\n# Enter (in this terminal), or `kill -USR1 {pid}`, stops the embedded EKS Auth, and once more \
         restarts it. Ctrl-C ends.\n"
    ));
    shell
}

/// One JSON object on one line.
fn to_json(environment: &Environment, sandbox: &Sandbox) -> String {
    let env: serde_json::Map<_, _> = environment
        .set()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    // `version`, `pid`, `endpoint`, `token_file`, `env` and `unset` are those of the testkit's ready lines.
    json!({
        "version": 1,
        "pid": process::id(),
        "endpoint": env.get(variables::FULL_URI),
        "token_file": env.get(variables::TOKEN_FILE),
        "unset": environment.unset(),
        "env": &env,
        "eks_auth": sandbox.eks_auth.endpoint(),
        "switch_eks_auth": format!("kill -USR1 {}", process::id()),
    })
    .to_string()
}

const TO_TRY: [&str; 2] = [
    r#"curl -sH "Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" "$AWS_CONTAINER_CREDENTIALS_FULL_URI""#,
    "python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'",
];
