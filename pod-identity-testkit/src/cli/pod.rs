use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tokio::net::TcpListener;

use crate::agent::builder::default_pod;
use crate::{Scenario, ScenarioError};

/// The service account of the pod's token.
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
        let unless_told = scenario.map(Scenario::identity);
        let (namespace, service_account) = unless_told.unwrap_or_else(default_pod);
        (
            self.namespace.clone().unwrap_or(namespace),
            self.service_account.clone().unwrap_or(service_account),
        )
    }
}

/// A scenario file. The other flags override its settings.
#[derive(Debug, Args)]
pub(super) struct ScenarioFile {
    /// Scenario file in TOML; other flags override its settings
    #[arg(long = "scenario", value_name = "FILE", value_parser = read)]
    pub(super) scenario: Option<Scenario>,
}

impl ScenarioFile {
    /// Returns the region of the flag, else of the scenario, else the default.
    pub(super) fn region(&self, flag: Option<&str>) -> String {
        let region = flag.or_else(|| self.scenario.as_ref()?.region());
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

/// What the program remembers of requests.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Record {
    /// Memory for the recorded requests, in MiB; the oldest are forgotten first
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    record_limit: u16,
}

impl Record {
    /// In bytes.
    ///
    /// The default holds some 250 pods at the webhook: the review of a pod with three containers, 5 kB of JSON, takes
    /// 130 kB. The secrets and sessions of `eks` have as much again, and answering `/requests` doubles it for a moment:
    /// the chart's limit of 256 MiB has room for all of it.
    pub(super) fn limit(self) -> usize {
        usize::from(self.record_limit) << 20
    }
}

/// Where a mock listens.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Listen {
    /// Port to listen on; 0 takes a free one
    #[arg(short, long, default_value_t = 0)]
    port: u16,
    /// IP address to listen on, such as 0.0.0.0 in a container
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    bind: IpAddr,
}

impl Listen {
    /// Listens on a free port of 127.0.0.1.
    pub(super) const LOOPBACK: Self = Self {
        port: 0,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };

    /// # Errors
    /// If the port is taken or the address is not one of this machine.
    pub(super) async fn listener(self) -> io::Result<TcpListener> {
        let address = SocketAddr::new(self.bind, self.port);
        TcpListener::bind(address).await.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrNotAvailable => "pass an address of this machine to --bind",
                _ => "pass another port to --port, or none for a free one",
            };
            let message = format!("cannot listen on {address}: {error}; {remedy}");
            io::Error::new(error.kind(), message)
        })
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        address => address
            .trim_matches(['[', ']'])
            .parse()
            .map_err(|_unreadable| "expected an IP address, such as 0.0.0.0 or ::".to_owned()),
    }
}

pub(super) const DEFAULT_REGION: &str = "us-west-2";
