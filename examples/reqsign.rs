//! Signing with `reqsign`. Run: `cargo run -p pod-identity-examples --example reqsign`
//!
//! Needs the feature `reqsign_core_3` of pod-identity-provider. The signer keeps a set until two minutes
//! before its expiry, and then asks again.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use reqsign::aws::RequestSigner;
use reqsign::{Context, Signer};
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    provider.warm_up().await?;

    // An empty context will do: the provider needs none of its files, commands or HTTP.
    let service = RequestSigner::new("dynamodb", "us-west-2");
    let signer = Signer::new(Context::new(), provider.clone(), service);

    let request = http::Request::post("https://dynamodb.us-west-2.amazonaws.com/");
    let (mut head, ()) = request.body(())?.into_parts();
    signer.sign(&mut head, None).await?;

    let signature = head
        .headers
        .get("authorization")
        .ok_or("it is not signed")?;
    let signature = signature.to_str()?;
    println!("authorization: {signature}");
    let token = head.headers.get("x-amz-security-token").ok_or("no token")?;
    println!("x-amz-security-token: {} bytes", token.len());

    let held = provider.snapshot().ok_or("a valid set must be held")?;
    assert!(
        signature.contains(held.access_key_id()),
        "another key has signed"
    );
    Ok(())
}
