//! A process that lives for seconds: a CronJob, a Lambda function, a command-line tool.
//! Run: `cargo run -p pod-identity-examples --example short_lived`
//!
//! There is nothing to wait for at the end: dropping the provider, or the runtime, ends its task at once.
//! Nothing has to be warmed up either, the first use fetches. A process that is frozen between two
//! invocations (Lambda) needs no task that wakes up: each use looks at the clock.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::time::{Duration, Instant};

use pod_identity_provider::RefreshPolicy;
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    // A job that is restarted anyway can time out earlier than after 10 s.
    let impatient = RefreshPolicy::provider().with_wait(Duration::from_secs(3));
    let provider = pod.builder().policy(impatient).build()?; // in a pod: PodIdentityProvider::builder()

    #[expect(
        clippy::disallowed_methods,
        reason = "an example shows how long it takes"
    )]
    let start = Instant::now();
    let credentials = provider.credentials().await?;
    println!(
        "{} after {:?}",
        credentials.access_key_id(),
        start.elapsed()
    );
    Ok(())
}
