//! Another role on top of the pod's, for example in another account.
//! Run: `cargo run -p pod-identity-examples --example assume_another_role`
//!
//! The SDK's `AssumeRoleProvider` asks the pod's provider for each call to STS, so it always signs with the
//! newest set. A role in the same or another account can also be set as the association's target role,
//! which needs no code at all.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials;
use support::{OfflineSts, Pod};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let own = pod.provider(); // in a pod: PodIdentityProvider::from_env()

    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("us-west-2"))
        .credentials_provider(own.clone())
        .http_client(OfflineSts::client()) // leave this out to reach AWS
        .load()
        .await;
    let other = AssumeRoleProvider::builder("arn:aws:iam::444455556666:role/reports")
        .session_name("reports")
        .configure(&config)
        .build_from_provider(own)
        .await;
    // Clients of the other role: config.to_builder().credentials_provider(SharedCredentialsProvider::new(other))
    let credentials = other.provide_credentials().await?;
    println!("assumed: {}", credentials.access_key_id());
    assert_eq!(credentials.access_key_id(), "ASIAFROMASSUMEROLE");
    Ok(())
}
