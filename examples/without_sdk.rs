//! Credentials without the AWS SDK. Run: `cargo run -p pod-identity-examples --example without_sdk`
//!
//! `default-features = false` leaves out everything of the SDK.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use pod_identity_provider::Credentials;
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()

    // Nothing is held yet: this starts a fetch and does not wait for it.
    assert!(provider.snapshot().is_none());

    // This waits for it. From now on, neither waits while the set is valid.
    let credentials = provider.credentials().await?;
    sign(&credentials);
    let again = provider.snapshot().ok_or("a valid set must be held")?;
    assert_eq!(credentials, again);

    // A service rejected the key: the provider does not return it again.
    provider.invalidate(credentials.access_key_id());
    assert!(provider.snapshot().is_none());
    Ok(())
}

/// Stands for the application's signer. `Debug` of the credentials is safe to log; `expose` is not.
fn sign(credentials: &Credentials) {
    println!("sign with {credentials:?}");
    let secret = credentials.secret_access_key().expose();
    let token = credentials.session_token().expose();
    println!(
        "a secret key of {} bytes, and X-Amz-Security-Token of {}",
        secret.len(),
        token.len()
    );
}
