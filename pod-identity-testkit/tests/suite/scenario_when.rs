//! When a fault applies, and to which requests.

use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, TokenPolicy};

use crate::common::{NOW, assume, shop, token};
use crate::raw::{ask, ask_with, at_rest};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_duration_of_a_fault_starts_at_its_begin() {
    let (builder, clock) = at_rest();
    let agent = builder.start().await.unwrap();
    agent.inject(Fault::status(503).after(MINUTE).lasting(MINUTE));
    let mut seen = Vec::new();
    for seconds in [0, 59, 60, 119, 120] {
        clock.set(NOW + Duration::from_secs(seconds));
        seen.push(ask(&agent).await.status());
    }
    assert_eq!(seen, [200, 200, 503, 503, 200]);
}

#[tokio::test]
async fn a_later_fault_does_not_block_the_queue() {
    let (builder, clock) = at_rest();
    let agent = builder.start().await.unwrap();
    agent.inject(Fault::status(503).after(MINUTE));
    agent.inject(Fault::status(500));
    let mut seen = vec![ask(&agent).await.status(), ask(&agent).await.status()];
    clock.advance(MINUTE);
    seen.extend([ask(&agent).await.status(), ask(&agent).await.status()]);
    assert_eq!(seen, [500, 200, 503, 200]);
}

#[tokio::test]
async fn a_fault_for_the_current_token_follows_rotations() {
    let (builder, _clock) = at_rest();
    let agent = builder.start().await.unwrap();
    agent.inject(Fault::status(503).always().token_age(1));
    let first = agent.token();
    let mut seen = vec![ask_with(&agent, first.expose()).await.status()];
    for _ in 0..2 {
        agent.rotate();
        seen.push(ask_with(&agent, first.expose()).await.status());
    }
    assert_eq!(seen, [200, 503, 200]);
}

#[tokio::test]
async fn a_fault_for_a_pod_does_not_affect_other_pods() {
    let (builder, _clock) = at_rest();
    let agent = builder.token_policy(TokenPolicy::Any).start().await;
    let agent = agent.unwrap();
    let (eks, _clock) = shop().await;
    let theirs = eks.issuer().token("shop", "cart").pod("cart-7").mint(NOW);
    agent.inject(Fault::status(503).times(1).pod("cart-7"));
    eks.inject(Fault::from(ErrorCode::Throttling).times(1).pod("cart-7"));
    let mut seen = vec![ask(&agent).await.status()];
    let mut of_eks = vec![assume(&eks, &token(&eks)).await.status];
    for _ in 0..2 {
        seen.push(ask_with(&agent, &theirs).await.status());
        of_eks.push(assume(&eks, &theirs).await.status);
    }
    assert_eq!(seen, [200, 503, 200]);
    assert_eq!(of_eks, [200, 429, 200]);
}
