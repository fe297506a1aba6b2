use std::time::Duration;

use aws_config::Region;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::imds::Client as Imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use pod_identity_core::{Clock, SystemClock};

use crate::eks_auth::http_clients;

/// Who the agent is to AWS: its region and its credentials.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) region: Region,
    pub(crate) credentials: SharedCredentialsProvider,
}

impl Identity {
    /// Looks the region up (environment, shared config file, instance metadata) and lines up the sources
    /// of credentials: environment, shared files, web identity, instance metadata.
    ///
    /// Never a container provider: with `AWS_CONTAINER_CREDENTIALS_*` in its own environment, or a
    /// profile that says so, the agent would ask itself. STS is asked through `outward`; instance
    /// metadata never through a proxy.
    ///
    /// # Errors
    /// A sentence with the cure when no region is known.
    pub(crate) async fn find(outward: &SharedHttpClient, rotate: bool) -> Result<Self, String> {
        let imds = imds();
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(
                ImdsRegionProvider::builder()
                    .imds_client(imds.clone())
                    .build(),
            )
            .region()
            .await
            .ok_or("no region is known: set AWS_REGION, or allow instance metadata")?;
        let config = config(&region, outward);
        let environment = EnvironmentVariableCredentialsProvider::new();
        let chain = CredentialsProviderChain::first_try("Environment", environment);
        let chain = if rotate {
            let profile = RotatingProfile {
                region: region.clone(),
                outward: outward.clone(),
            };
            chain.or_else("Profile", profile)
        } else {
            chain.or_else("Profile", profile(&config))
        };
        let web_identity = WebIdentityTokenCredentialsProvider::builder()
            .configure(&config)
            .build();
        let instance = ImdsCredentialsProvider::builder().imds_client(imds).build();
        let credentials = chain
            .or_else("WebIdentityToken", web_identity)
            .or_else("Ec2InstanceMetadata", instance);
        Ok(Self {
            region,
            credentials: SharedCredentialsProvider::new(credentials),
        })
    }
}

pub(crate) fn imds() -> Imds {
    Imds::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http_clients::local()))
        .connect_timeout(IMDS_TIMEOUT)
        .read_timeout(IMDS_TIMEOUT)
        .max_attempts(2)
        .build()
}

fn config(region: &Region, outward: &SharedHttpClient) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(outward.clone())
}

fn profile(config: &ProviderConfig) -> ProfileFileCredentialsProvider {
    ProfileFileCredentialsProvider::builder()
        .configure(config)
        .with_custom_provider("EcsContainer", Refused)
        .build()
}

/// Instance metadata answers within milliseconds, or not at all.
const IMDS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a profile with `credential_source = EcsContainer` comes to.
#[derive(Debug)]
struct Refused;

impl ProvideCredentials for Refused {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::ready(Err(CredentialsError::invalid_configuration(
            "credential_source = EcsContainer would make the agent ask itself; use Ec2InstanceMetadata",
        )))
    }
}

/// The shared files, read anew at least every minute (`--rotate-credentials`, for hybrid nodes, where
/// another process renews them).
///
/// aws-config keeps the files that it has parsed for ever, and clones of its configuration share them, so
/// all of it is made anew each time; an expiry makes the client come back.
#[derive(Debug)]
struct RotatingProfile {
    region: Region,
    outward: SharedHttpClient,
}

impl RotatingProfile {
    async fn load(&self) -> provider::Result {
        let loaded = profile(&config(&self.region, &self.outward))
            .provide_credentials()
            .await?;
        let again = (SystemClock.now() + REREAD).into();
        let expiry = loaded.expiry().map_or(again, |expiry| expiry.min(again));
        Ok(Credentials::new(
            loaded.access_key_id(),
            loaded.secret_access_key(),
            loaded.session_token().map(str::to_owned),
            Some(expiry),
            "RotatingProfile",
        ))
    }
}

impl ProvideCredentials for RotatingProfile {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::new(self.load())
    }
}

/// The official agent re-reads the file every minute.
const REREAD: Duration = Duration::from_secs(60);
