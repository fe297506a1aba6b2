//! Which requests a fault applies to.

use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, Gate, MockAgent, Stage, TokenPolicy};

use crate::common::{NOW, assume, shop, soon, token};
use crate::raw::{Raw, agent, ask, ask_with, at_rest};

async fn statuses(agent: &MockAgent, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(ask(agent).await.status());
    }
    statuses
}

#[tokio::test]
async fn queued_faults_take_precedence_over_persistent_ones() {
    let agent = agent().await;
    agent.inject_always(Fault::status(503));
    agent.inject_next(2, Fault::status(429));
    agent.inject(Fault::status(500));
    assert_eq!(statuses(&agent, 4).await, [429, 429, 500, 503]);
    agent.clear_faults();
    assert_eq!(statuses(&agent, 1).await, [200]);
}

#[tokio::test]
async fn a_fault_for_the_nth_request_applies_to_it_whatever_else_is_queued() {
    let agent = agent().await;
    agent.inject(Fault::status(500).nth(3));
    agent.inject(Fault::status(429));
    assert_eq!(statuses(&agent, 4).await, [429, 200, 500, 200]);
}

#[tokio::test]
async fn two_resets_take_two_requests_and_the_next_error_the_third() {
    let agent = agent().await;
    agent.inject_next(2, Fault::reset(Stage::BeforeHeaders));
    agent.inject(Fault::status(500));
    for _ in 0..2 {
        let mut raw = Raw::connect(&agent).await;
        raw.ask(&agent).await;
        assert_eq!(raw.rest().await.0, b"");
    }
    assert_eq!(statuses(&agent, 2).await, [500, 200]);
}

#[tokio::test]
async fn a_stall_and_an_error_are_one_slow_error() {
    let agent = agent().await;
    let gate = Gate::new();
    agent.inject(Fault::hold(Stage::InBody, &gate));
    agent.inject(Fault::status(500));
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    soon(gate.wait_for(1)).await;
    gate.release();
    assert_eq!(raw.answer().await.status(), 500);
    assert_eq!(statuses(&agent, 1).await, [200]);
}

#[tokio::test]
async fn a_fault_for_a_token_applies_to_that_token() {
    let (builder, _clock) = at_rest();
    let agent = builder
        .token_policy(TokenPolicy::Any)
        .start()
        .await
        .unwrap();
    agent.inject(Fault::from(ErrorCode::AccessDenied).times(2).token("one"));
    agent.inject(Fault::status(429).always().token("two"));
    let mut seen = Vec::new();
    for token in ["other", "one", "two", "one", "one", "two"] {
        seen.push(ask_with(&agent, token).await.status());
    }
    assert_eq!(seen, [200, 400, 429, 400, 200, 429]);
}

#[tokio::test]
async fn a_faults_duration_follows_the_clock() {
    let (builder, clock) = at_rest();
    let agent = builder.start().await.unwrap();
    agent.inject(Fault::status(503).lasting(Duration::from_secs(7200)));
    assert_eq!(statuses(&agent, 2).await, [503, 503]);
    clock.advance(Duration::from_secs(7199));
    assert_eq!(statuses(&agent, 1).await, [503]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(statuses(&agent, 1).await, [200]);
    clock.set(NOW);
    assert_eq!(statuses(&agent, 1).await, [200], "it is over for good");
}

#[tokio::test]
async fn a_fault_lasts_until_its_gate_is_released() {
    let agent = agent().await;
    let gate = Gate::new();
    agent.inject(Fault::status(503).always().until(&gate));
    assert_eq!(statuses(&agent, 2).await, [503, 503]);
    gate.release();
    assert_eq!(statuses(&agent, 1).await, [200]);
}

#[tokio::test]
async fn a_persistent_gate_holds_all_requests_until_it_is_released() {
    let agent = agent().await;
    let gate = agent.gate();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(&agent).await;
        raw.ask(&agent).await;
        clients.push(raw);
    }
    soon(gate.wait_for(3)).await;
    assert_eq!((agent.in_flight(), agent.max_in_flight()), (3, 3));
    gate.release();
    for mut raw in clients {
        assert_eq!(raw.answer().await.status(), 200);
    }
    assert_eq!(statuses(&agent, 1).await, [200], "it stays open");
}

#[tokio::test]
async fn the_mock_of_eks_auth_has_the_same_conditions() {
    let (eks, clock) = shop().await;
    let unavailable = Fault::from(ErrorCode::ServiceUnavailable);
    eks.inject(unavailable.lasting(Duration::from_secs(60)));
    eks.inject(Fault::from(ErrorCode::Throttling).nth(2));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(assume(&eks, &token(&eks)).await.status);
    }
    clock.advance(Duration::from_secs(60));
    seen.push(assume(&eks, &token(&eks)).await.status);
    assert_eq!(seen, [503, 429, 503, 200]);
}
