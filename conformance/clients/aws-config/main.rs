//! Prints the access key that the default chain of the AWS SDK for Rust finds.

use std::error::Error;

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let provider = config.credentials_provider().ok_or("no provider")?;
    println!("{}", provider.provide_credentials().await?.access_key_id());
    Ok(())
}
