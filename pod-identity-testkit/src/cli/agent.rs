use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pod_identity_cli::{Environment, Signals, no_proxy, parse_lifetime};
use serde_json::{Map, json};

use super::admin::Admin;
use super::controls::AgentControls;
use super::moving_clock::MovingClock;
use super::parent::Parent;
use super::pod::{Listen, Pod, Record, ScenarioFile};
use super::ready;
use crate::{AgentMode, MockAgent, MockAgentBuilder};

/// The flags of `agent`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    mock: Mock,
    /// Another name or address that clients may send as Host; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
}

/// The flags that `agent` and `run` share.
#[derive(Debug, Args)]
pub(super) struct Mock {
    #[command(flatten)]
    pod: Pod,
    #[command(flatten)]
    pub(super) file: ScenarioFile,
    #[command(flatten)]
    record: Record,
    /// Lifetime of the credentials, as in 20m or 1h30m [default: 6h]
    #[arg(long, value_parser = parse_lifetime)]
    credential_lifetime: Option<Duration>,
    /// Which agent the mock is like where they differ [default: ours]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Region of the SDKs [default: us-west-2]
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// This project's agent, which refuses more
    Ours,
    /// The official agent; valid requests are answered as it does, byte for byte
    Official,
}

impl Mock {
    /// # Errors
    /// Fails if the mock cannot listen.
    pub(super) async fn builder(&self, listen: Listen) -> io::Result<MockAgentBuilder> {
        let (namespace, service_account) = self.pod.identity(self.file.scenario.as_ref());
        let mut builder = MockAgent::builder()
            .listener(listen.listener().await?)
            .allow_host("localhost")
            // A client asks the admin endpoint, and `run` looks when its command is done.
            .unverified()
            .record_limit(self.record.limit())
            .service_account(namespace, service_account);
        if let Some(lifetime) = self.credential_lifetime {
            builder = builder.lifetime(lifetime);
        }
        if let Some(mode) = self.mode {
            builder = builder.mode(match mode {
                Mode::Ours => AgentMode::Ours,
                Mode::Official => AgentMode::Official,
            });
        }
        if let Some(scenario) = &self.file.scenario {
            builder = builder.scenario(scenario);
        }
        Ok(builder)
    }

    pub(super) fn environment(&self, agent: &MockAgent, no_proxy: Option<&str>) -> Environment {
        let region = self.file.region(self.region.as_deref());
        Environment::of_pod(&agent.uri(), agent.volume().token_path(), &region, no_proxy)
    }
}

/// Serves until a signal, or until the process that started it has ended.
///
/// # Errors
/// Fails if the mock cannot listen, or standard output is closed.
pub(super) async fn serve(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let parent = Parent::watch()?;
    let no_proxy = no_proxy();
    let clock = Arc::new(MovingClock::default());
    let mut builder = options.mock.builder(options.listen).await?;
    for host in options.allow_host {
        builder = builder.allow_host(host);
    }
    let agent = builder.clock(clock.clone()).start().await?;

    let mut line = Map::new();
    line.insert("endpoint".to_owned(), json!(agent.uri()));
    let token_file = agent.volume().token_path();
    line.insert("token_file".to_owned(), json!(token_file));
    let environment = options.mock.environment(&agent, no_proxy.as_deref());
    ready::add_environment(&mut line, &environment);
    let scenario = options.mock.file.scenario;
    let admin = Admin::start(AgentControls { agent, scenario }, clock).await?;
    line.insert("admin".to_owned(), admin.to_json());
    ready::say(line)?;
    tokio::select! {
        () = signals.shutdown() => {}
        () = parent.gone() => {}
    }
    Ok(ExitCode::SUCCESS)
}
