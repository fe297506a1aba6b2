use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_sdk_eksauth::config::retry::RetryConfig;
use aws_sdk_eksauth::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eksauth::{Client, Config};
use pod_identity_cli::{Environment, no_proxy};
use pod_identity_core::wire::agent;
use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::{Association, Issuer, MockEksAuth, ProjectedVolume, TokenBuilder};
use tokio::net::TcpListener;
use tracing::info;

use super::options::Options;
use crate::eks_auth::http_clients;
use crate::serve::listener::remedy;
use crate::{Agent, Listen, SdkEksAuth};

/// An EKS cluster with one pod, as far as credentials are concerned.
pub(super) struct Sandbox {
    pub(super) agent: Agent,
    pub(super) eks_auth: MockEksAuth,
    pub(super) tokens: Tokens,
    address: SocketAddr,
    region: String,
}

impl Sandbox {
    /// # Errors
    /// Fails with the remedy if the port is taken or the directory cannot be written.
    pub(super) async fn start(options: &Options, now: Timestamp) -> io::Result<Self> {
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = TcpListener::bind(asked).await.map_err(|error| {
            explained(
                &error,
                format!(
                    "cannot listen on {asked} ({}, or leave --port out)",
                    remedy(&error)
                ),
            )
        })?;
        let address = listener.local_addr()?;

        let issuer = Issuer::for_region(&options.region);
        let token = issuer
            .token(&options.namespace, &options.service_account)
            .lifetime(options.token_lifetime);
        let tokens = Tokens::project(options, token, now)?;

        let eks_auth = MockEksAuth::builder()
            .cluster(&options.cluster_name)
            .region(&options.region)
            .issuer(issuer)
            // A sandbox may run for weeks, and nobody reads the record.
            .record_limit(4 << 20)
            .start()
            .await?;
        eks_auth.add(
            Association::new(
                &options.namespace,
                &options.service_account,
                &options.role_arn,
            )
            .lifetime(options.credential_lifetime),
        );
        let client = SdkEksAuth::new(&options.cluster_name).with_client(client(&eks_auth));
        let agent = Agent::builder(client).listen(Listen::On(listener)).build();
        Ok(Self {
            agent,
            eks_auth,
            tokens,
            address,
            region: options.region.clone(),
        })
    }

    pub(super) fn environment(&self) -> Environment {
        Environment::of_pod(
            &format!("http://{}{}", self.address, agent::PATH),
            self.tokens.volume.token_path(),
            &self.region,
            no_proxy().as_deref(),
        )
    }
}

/// The pod's token volume, and where its tokens come from.
pub(super) struct Tokens {
    volume: ProjectedVolume,
    token: TokenBuilder,
    lifetime: Duration,
}

impl Tokens {
    fn project(options: &Options, token: TokenBuilder, now: Timestamp) -> io::Result<Self> {
        let volume = match &options.dir {
            // Absolute, because what is printed is used from other directories too.
            Some(directory) => std::path::absolute(directory).and_then(ProjectedVolume::create_in),
            None => ProjectedVolume::new(),
        };
        let written = volume.and_then(|volume| volume.write(token.mint(now)).map(|()| volume));
        let volume = written.map_err(|error| {
            let directory = options.dir.clone().unwrap_or_else(std::env::temp_dir);
            explained(
                &error,
                format!(
                    "cannot write to {}; choose another directory with --dir",
                    directory.display()
                ),
            )
        })?;
        Ok(Self {
            volume,
            token,
            lifetime: options.token_lifetime,
        })
    }

    /// Rotates the token at 80 % of its lifetime or after 24 h, as kubelet does.
    pub(super) async fn keep_fresh(self) -> io::Result<()> {
        let rest = self
            .lifetime
            .mul_f64(0.8)
            .min(Duration::from_secs(24 * 3600));
        loop {
            tokio::time::sleep(rest).await;
            self.volume.write(self.token.mint(SystemClock.now()))?;
            info!(path = %self.volume.token_path().display(), "the token was rotated");
        }
    }
}

/// The official client, with nothing from the environment: no proxy, no shared files, no other endpoint.
fn client(eks_auth: &MockEksAuth) -> Client {
    let unused = Credentials::new(
        "ASIADEVNODE000000000",
        "the-mock-accepts-any",
        None,
        None,
        "dev",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(eks_auth.region().to_owned()))
        .endpoint_url(eks_auth.endpoint())
        .credentials_provider(unused)
        .retry_config(RetryConfig::disabled())
        .http_client(http_clients::loopback_client())
        .build();
    Client::from_conf(config)
}

fn explained(error: &io::Error, message: String) -> io::Error {
    io::Error::new(error.kind(), format!("{message}: {error}"))
}
