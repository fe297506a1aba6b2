//! Prints the access key that the provider of this repository finds.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use pod_identity_provider::{FetchError, PodIdentityProvider};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), FetchError> {
    let credentials = PodIdentityProvider::from_env().credentials().await?;
    println!("{}", credentials.access_key_id());
    Ok(())
}
