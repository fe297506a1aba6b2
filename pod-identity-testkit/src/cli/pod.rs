use std::io;
use std::net::Ipv4Addr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tokio::net::TcpListener;

use crate::agent::builder::default_pod;
use crate::{Scenario, ScenarioError};

/// Whose token it is.
#[derive(Debug, Args)]
pub(super) struct Pod {
    /// Namespace of the pod [default: default]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// Service account of the pod [default: app]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    service_account: Option<String>,
}

impl Pod {
    /// Namespace and service account.
    pub(super) fn identity(&self, scenario: Option<&Scenario>) -> (String, String) {
        let unless_told = scenario.map(|scenario| scenario.pod().identity());
        let (namespace, service_account) = unless_told.unwrap_or_else(default_pod);
        (
            self.namespace.clone().unwrap_or(namespace),
            self.service_account.clone().unwrap_or(service_account),
        )
    }
}

/// What happens, in a file. The other flags win over what it says.
#[derive(Debug, Args)]
pub(super) struct ScenarioFile {
    /// A scenario in TOML; what the other flags say wins over it
    #[arg(long = "scenario", value_name = "FILE", value_parser = read)]
    pub(super) scenario: Option<Scenario>,
}

impl ScenarioFile {
    /// What the flag says, or the scenario, or where tests usually are.
    pub(super) fn region(&self, flag: Option<&str>) -> String {
        let eks = self.scenario.as_ref().map(Scenario::eks);
        let region = flag.or_else(|| eks?.region.as_deref());
        region.unwrap_or(DEFAULT_REGION).to_owned()
    }
}

fn read(path: &str) -> Result<Scenario, ScenarioError> {
    Scenario::read(path)
}

/// `namespace/service-account`.
pub(super) fn identity(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("expected namespace/service-account, such as shop/cart".to_owned()),
    }
}

/// A port of 127.0.0.1; 0 is a free one.
///
/// # Errors
/// When it is taken, which the words tell.
pub(super) async fn listen(port: u16) -> io::Result<TcpListener> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|error| {
        let cure = "take another one with --port, or none for a free one";
        io::Error::new(
            error.kind(),
            format!("cannot listen on 127.0.0.1:{port}: {error}; {cure}"),
        )
    })
}

pub(super) const DEFAULT_REGION: &str = "us-west-2";
