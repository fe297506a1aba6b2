use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_credential_types::provider::{self, ProvideCredentials};
use pod_identity_core::{Clock, SystemClock};

/// The agent's own credentials: environment, shared files, web identity, instance metadata, in this
/// order.
///
/// Never a container provider: with `AWS_CONTAINER_CREDENTIALS_*` in its own environment the agent would
/// ask itself.
pub(crate) fn chain(rotate: bool) -> CredentialsProviderChain {
    let environment = EnvironmentVariableCredentialsProvider::new();
    let chain = CredentialsProviderChain::first_try("Environment", environment);
    let chain = if rotate {
        chain.or_else("Profile", RotatingProfile)
    } else {
        chain.or_else("Profile", ProfileFileCredentialsProvider::builder().build())
    };
    chain
        .or_else(
            "WebIdentityToken",
            WebIdentityTokenCredentialsProvider::builder().build(),
        )
        .or_else(
            "Ec2InstanceMetadata",
            ImdsCredentialsProvider::builder().build(),
        )
}

/// The shared files, read anew at least every minute (`--rotate-credentials`, for hybrid nodes, where
/// another process renews them).
///
/// aws-config's provider keeps the files that it has parsed for ever, so there is a new one each time;
/// an expiry makes the client come back.
#[derive(Debug)]
struct RotatingProfile;

impl RotatingProfile {
    async fn load(&self) -> provider::Result {
        let loaded = ProfileFileCredentialsProvider::builder()
            .build()
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
