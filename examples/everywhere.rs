//! One binary on a laptop, on ECS and on EKS. Run: `cargo run -p pod-identity-examples --example everywhere`
//!
//! The provider reports "not configured" where no container variable is set, and only then; so a chain goes
//! on to the SDK's default one on a laptop or on EC2. On ECS and EKS it never does: an agent that fails is
//! an error, and the role does not change silently.
//!
//! One thing differs from the default chain: `AWS_ACCESS_KEY_ID` in the environment no longer wins over
//! the container's credentials. `keys_first` keeps it so.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_credential_types::provider::ProvideCredentials;
use pod_identity_provider::PodIdentityProvider;
use support::Pod;

/// The container's credentials where there is a container, else what the SDK finds.
async fn container_first(container: PodIdentityProvider) -> CredentialsProviderChain {
    CredentialsProviderChain::first_try("PodIdentity", container)
        .or_default_provider()
        .await
}

/// As before, but keys in the environment take precedence, as in the SDK's default chain: for a developer who
/// sets them in a container.
async fn keys_first(container: PodIdentityProvider) -> CredentialsProviderChain {
    CredentialsProviderChain::first_try(
        "Environment",
        EnvironmentVariableCredentialsProvider::new(),
    )
    .or_else("PodIdentity", container)
    .or_default_provider()
    .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let container = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    for chain in [
        container_first(container.clone()).await,
        keys_first(container).await,
    ] {
        // In a program: aws_config::defaults(…).credentials_provider(chain).load().await
        let credentials = chain.provide_credentials().await?;
        println!("{credentials:?}"); // names the provider, and hides the secrets
    }
    Ok(())
}
