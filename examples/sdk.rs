//! An STS call with the AWS SDK. Run: `cargo run -p pod-identity-examples --example sdk`
//!
//! The SDK caches what a provider gives it until 10 s before its expiry, and asks again while the
//! request waits. Here the new set has been fetched by then. `no_cache()` makes it ask for every request,
//! which costs little, because the provider is a cache itself.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use aws_config::identity::IdentityCache;
use aws_config::{BehaviorVersion, Region};
use support::{OfflineSts, Pod};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    provider.warm_up().await?; // so that the first request need not wait; fails early, with the reason

    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("us-west-2"))
        .credentials_provider(provider.clone())
        .identity_cache(IdentityCache::no_cache())
        .http_client(OfflineSts::client()) // leave this out to reach AWS
        .load()
        .await;
    let sts = aws_sdk_sts::Client::new(&config);
    let caller = sts.get_caller_identity().send().await?;
    let arn = caller.arn().unwrap_or_default();
    println!("called as {arn}");

    let state = provider.state();
    let key = state.access_key_id.ok_or("nothing is held")?;
    let expiration = state.expiration.ok_or("nothing is held")?;
    println!("the pod's key is {key}, until {expiration}");
    assert!(
        arn.ends_with(&key),
        "the request was signed with another key"
    );
    Ok(())
}
