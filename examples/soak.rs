//! Thirty days in seconds. Run: `cargo run -p pod-identity-examples --example soak`
//!
//! tokio's clock is paused: whenever everybody sleeps, it jumps to the next deadline. Sockets, token
//! volume and credentials are real ones. Fails if a call saw an error while a valid set existed.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::io;
use std::time::Duration;

use pod_identity_provider::PodIdentityProvider;
use pod_identity_testkit::{Fault, MockAgent, MockEksAuth, TokenPolicy};
use support::soak::{Accelerated, Tally};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Accelerated::start();
    let eks = MockEksAuth::builder()
        .in_this_runtime()
        .clock(clock.clone())
        .start()
        .await?;
    eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart"); // 6 h each
    let agent = MockAgent::builder()
        .in_this_runtime()
        .service_account("shop", "cart");
    let agent = agent.eks_auth(&eks).token_policy(TokenPolicy::Current);
    let agent = agent.start().await?;
    agent.inject_always(Fault::latency(Duration::from_millis(50)));
    let tally = Tally::new(clock.clone());
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .clock(clock)
        .observer(tally.clone())
        .seed(30)
        .build()?;

    tokio::select! {
        () = tally.call_for(30 * DAY, &provider) => {}
        () = rotate_tokens(&agent, &tally) => {}
        broken = misfortunes(&agent, &provider, &tally) => broken?,
    }
    print!("{tally}");
    tally.verdict()
}

/// As kubelet does, at 80 % of a day.
async fn rotate_tokens(agent: &MockAgent, tally: &Tally) {
    loop {
        sleep(DAY * 4 / 5).await;
        agent.rotate();
        tally.count("token rotations");
    }
}

/// Twice a day the agent restarts, just when it is wanted. Once a week EKS Auth fails instead, from
/// half an hour before it is wanted until after the set that is held has expired.
async fn misfortunes(
    agent: &MockAgent,
    provider: &PodIdentityProvider,
    tally: &Tally,
) -> io::Result<()> {
    for round in 1.. {
        if round % 14 == 0 {
            tally.before_refresh(provider, DAY / 48).await;
            agent.inject(Fault::status(503).lasting(DAY / 12));
            tally.count("EKS Auth outages of 2 h");
        } else {
            tally.before_refresh(provider, Duration::from_secs(2)).await;
            agent.stop().await;
            sleep(Duration::from_secs(5)).await;
            agent.restart().await?;
            tally.count("agent restarts of 5 s");
        }
        sleep(DAY / 4).await;
    }
    Ok(())
}

const DAY: Duration = Duration::from_secs(24 * 3600);
