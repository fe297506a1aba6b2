//! A client that is given keys, not a provider, such as `rust-s3`. Run:
//! `cargo run -p pod-identity-examples --example fixed_keys`
//!
//! `rust-s3` is not built here, because it has an HTTP client and hash functions of its own, in other versions than
//! the SDK's. `s3::Bucket` takes the place of [`Bucket`], and `s3::creds::Credentials` that of [`Keys`]: README.md
//! has the code.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::sync::Arc;

use pod_identity_provider::{Credentials, FetchError, PodIdentityProvider};
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    let buckets = Buckets { provider };

    let before = buckets.bucket().await?;
    println!("signs with {}", before.keys.access_key);
    buckets.provider.refresh_now().await?; // as happens by itself in time
    let after = buckets.bucket().await?;
    println!("signs with {}", after.keys.access_key);
    assert_ne!(before.keys.access_key, after.keys.access_key);
    assert_eq!(after.name, "reports");
    assert!(!after.keys.secret_key.is_empty() && after.keys.session_token.is_some());
    Ok(())
}

/// Makes a bucket for each request, because a bucket keeps its keys until they have expired.
struct Buckets {
    provider: PodIdentityProvider,
}

impl Buckets {
    async fn bucket(&self) -> Result<Bucket, FetchError> {
        let credentials = self.provider.credentials().await?;
        Ok(Bucket::new("reports", Keys::of(&credentials)))
    }
}

/// What such a client takes.
struct Keys {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

impl Keys {
    fn of(credentials: &Arc<Credentials>) -> Self {
        let token = credentials.session_token().expose();
        Self {
            access_key: credentials.access_key_id().to_owned(),
            secret_key: credentials.secret_access_key().expose().to_owned(),
            // A long-lived key has none.
            session_token: (!token.is_empty()).then(|| token.to_owned()),
        }
    }
}

struct Bucket {
    name: &'static str,
    keys: Keys,
}

impl Bucket {
    fn new(name: &'static str, keys: Keys) -> Self {
        Self { name, keys }
    }
}
