//! From IAM roles for service accounts to Pod Identity, without a moment in between.
//! Run: `cargo run -p pod-identity-examples --example migrate_from_irsa`
//!
//! While a service account has both an annotation and an association, a pod has both sets of variables:
//! `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE` beside those of the container. The SDK's default
//! chain then takes web identity. A custom chain takes its first provider that has credentials.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_smithy_types::error::display::DisplayErrorContext;
use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{Fault, MockAgent};
use support::OfflineSts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = MockAgent::start().await;
    let irsa = || web_identity(&agent);

    let irsa_first =
        |ours| CredentialsProviderChain::first_try("Irsa", irsa()).or_else("PodIdentity", ours);
    let ours_first =
        |ours| CredentialsProviderChain::first_try("PodIdentity", ours).or_else("Irsa", irsa());

    // 1. As the default chain does: nothing changes when the association is made.
    let ours = PodIdentityProvider::from_lookup(agent.lookup());
    assert!(!ours_wins(irsa_first(ours.clone()), &ours).await?);

    // 2. The migration: Pod Identity where there is an association, …
    assert!(ours_wins(ours_first(ours.clone()), &ours).await?);

    // … web identity in a pod that is older than it, because the variables are not there yet.
    let ours = PodIdentityProvider::from_lookup(|_| None);
    assert!(!ours_wins(ours_first(ours.clone()), &ours).await?);

    // 3. An agent that refuses is an error: the role never changes behind one's back.
    agent.inject_always(Fault::text(404, "no association"));
    let ours = PodIdentityProvider::from_lookup(agent.lookup());
    let refused = ours_wins(ours_first(ours.clone()), &ours).await;
    let error = refused.expect_err("the agent must refuse");
    println!("neither: {}", DisplayErrorContext(error));
    Ok(())
}

/// It is Pod Identity if the key is the one that the provider holds. Outside of the process,
/// `GetCallerIdentity` shows it: Pod Identity names its sessions `eks-<cluster>-<pod>-<uuid>`.
async fn ours_wins(
    chain: CredentialsProviderChain,
    ours: &PodIdentityProvider,
) -> Result<bool, CredentialsError> {
    let used = chain.provide_credentials().await?;
    println!("{used:?}"); // its Debug names the provider, and hides what is secret
    Ok(ours.state().access_key_id.as_deref() == Some(used.access_key_id()))
}

/// What `WebIdentityTokenCredentialsProvider::builder().build()` reads from the environment.
fn web_identity(agent: &MockAgent) -> WebIdentityTokenCredentialsProvider {
    let offline = ProviderConfig::without_region()
        .with_region(Some(Region::from_static("us-west-2")))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(OfflineSts::client());
    WebIdentityTokenCredentialsProvider::builder()
        .configure(&offline)
        .static_configuration(StaticConfiguration {
            web_identity_token_file: agent.volume().token_path().into(),
            role_arn: "arn:aws:iam::111122223333:role/irsa".to_owned(),
            session_name: "app".to_owned(),
        })
        .build()
}
