//! A program without `async`. Run: `cargo run -p pod-identity-examples --example sync_app`
//!
//! The provider needs a tokio runtime. On its own thread, credentials are refreshed while the program
//! does something else, and `snapshot` never waits. A runtime that only runs inside of `block_on` works too:
//! then each call looks whether a refresh is due, and waits for it only if nothing valid is held.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use pod_identity_provider::PodIdentityProvider;
use support::Pod;
use tokio::runtime::{Builder, Runtime};

/// Credentials for synchronous code. Keep one for the program's whole life.
struct Aws {
    provider: PodIdentityProvider,
    /// Drives refreshes. Dropped with the provider.
    runtime: Runtime,
}

impl Aws {
    fn key_id(&self) -> Result<String, Box<dyn std::error::Error>> {
        let credentials = match self.provider.snapshot() {
            Some(credentials) => credentials,
            None => self.runtime.block_on(self.provider.credentials())?,
        };
        Ok(credentials.access_key_id().to_owned())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let pod = runtime.block_on(Pod::start());
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    let aws = Aws { provider, runtime };
    println!("first call, which waits: {}", aws.key_id()?);
    println!("the others do not: {}", aws.key_id()?);
    Ok(())
}
