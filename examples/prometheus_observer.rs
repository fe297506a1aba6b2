//! Metrics of an application. Run: `cargo run -p pod-identity-examples --example prometheus_observer`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::sync::Arc;

use pod_identity_provider::{Event, Observer};
use prometheus::{Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let metrics = Arc::new(Metrics::registered(&registry)?);
    let pod = Pod::start().await;
    let provider = pod.builder().observer(metrics).build()?; // in a pod: PodIdentityProvider::builder()
    provider.warm_up().await?;

    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    print!("{}", String::from_utf8(text)?);
    Ok(())
}

/// Few label values, and none from the outside: the error's text belongs in the log.
#[derive(Debug)]
struct Metrics {
    attempts: IntCounterVec,
    failures: IntGauge,
    expiration: IntGauge,
}

impl Metrics {
    fn registered(registry: &Registry) -> prometheus::Result<Self> {
        let attempts = Opts::new(
            "aws_credentials_attempts_total",
            "Attempts to fetch, by result.",
        );
        let metrics = Self {
            attempts: IntCounterVec::new(attempts, &["result"])?,
            failures: IntGauge::new(
                "aws_credentials_consecutive_failures",
                "Attempts that have failed since the latest success.",
            )?,
            expiration: IntGauge::new(
                "aws_credentials_expiration_timestamp_seconds",
                "When the set that is held expires: alert on this minus time().",
            )?,
        };
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.expiration.clone()))?;
        Ok(metrics)
    }

    fn count(&self, result: &str, failures: u32) {
        self.attempts.with_label_values(&[result]).inc();
        self.failures.set(failures.into());
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event) {
        match event {
            Event::Refreshed { expiration, .. } => {
                self.count("refreshed", 0);
                self.expiration.set(expiration.as_unix_secs());
            }
            Event::NoProgress { .. } => self.count("no_progress", 0),
            Event::Failed { failures, .. } => self.count("failed", *failures),
            // Not an attempt; the expiration shows it.
            _ => {}
        }
    }
}
