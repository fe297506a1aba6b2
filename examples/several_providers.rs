//! Several providers in one process: several roles, by several endpoints.
//! Run: `cargo run -p pod-identity-examples --example several_providers`
//!
//! A clone shares its set and its task with the original: hand clones to all clients of one role. Another
//! provider has its own set and task. One pod has one role by Pod Identity; other endpoints are, for
//! example, those of sidecars.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use pod_identity_provider::{Endpoint, PodIdentityProvider};
use pod_identity_testkit::MockAgent;
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let own = pod.provider(); // in a pod: PodIdentityProvider::from_env()

    let sidecar = MockAgent::start().await; // in a pod: a container that listens on loopback
    let other = PodIdentityProvider::builder()
        .endpoint(Endpoint::parse(&sidecar.uri())?)
        .token_file(sidecar.volume().token_path())
        .build()?;

    let same = own.clone();
    let (own_key, same_key) = (own.credentials().await?, same.credentials().await?);
    let other_key = other.credentials().await?;
    println!(
        "{} and {}",
        own_key.access_key_id(),
        other_key.access_key_id()
    );
    assert_eq!(own_key.access_key_id(), same_key.access_key_id());
    assert_ne!(own_key.access_key_id(), other_key.access_key_id());
    Ok(())
}
