//! Faults of a scenario file, applied to requests.

use pod_identity_testkit::{MockAgent, MockEksAuth, Scenario, TokenPolicy};
use serde_json::Value;

use crate::common::{Answered, Client, NOW, assume};
use crate::raw::{ask, ask_with, at_rest};

async fn agent_with(fault: &str) -> MockAgent {
    let scenario = Scenario::from_toml(&format!("[[agent.faults]]\n{fault}")).unwrap();
    let builder = at_rest().0.scenario(&scenario);
    builder
        .token_policy(TokenPolicy::Any)
        .start()
        .await
        .unwrap()
}

async fn eks_with(fault: &str) -> MockEksAuth {
    let scenario = Scenario::from_toml(&format!("[[eks.faults]]\n{fault}")).unwrap();
    let eks = MockEksAuth::builder().scenario(&scenario).start().await;
    let eks = eks.unwrap();
    eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
    eks
}

#[tokio::test]
async fn bodies_and_messages_of_the_agent_are_as_the_scenario_says() {
    for (fault, status, expected) in [
        ("status = 502\ntext = \"no upstream\"", 502, "no upstream\n"),
        ("body = \"[]\"", 200, "[]"),
        ("empty = true", 200, ""),
        ("html = true", 200, "<h1>It works!</h1>"),
        (
            "error = \"AccessDenied\"\nmessage = \"not you\"",
            400,
            "(AccessDeniedException): not you",
        ),
        (
            "fields.Expiration = { renamed = \"ExpiresAt\" }",
            200,
            "\"ExpiresAt\":\"2026",
        ),
    ] {
        let seen = ask(&agent_with(fault).await).await;
        assert_eq!(seen.status(), status, "{fault}");
        assert!(seen.text().contains(expected), "{fault}: {}", seen.text());
    }
}

#[tokio::test]
async fn a_fault_applies_to_the_current_or_the_previous_token_or_a_pod() {
    let agent = agent_with("status = 503\nalways = true\ntoken = \"current\"").await;
    let before = agent.token();
    agent.rotate();
    assert_eq!(ask(&agent).await.status(), 503);
    assert_eq!(ask_with(&agent, before.expose()).await.status(), 200);

    let agent = agent_with("status = 503\nalways = true\ntoken = \"previous\"").await;
    let before = agent.token();
    agent.rotate();
    assert_eq!(ask(&agent).await.status(), 200);
    assert_eq!(ask_with(&agent, before.expose()).await.status(), 503);

    let agent = agent_with("status = 503\nalways = true\npod = \"cart-7\"").await;
    let issuer = pod_identity_testkit::Issuer::new();
    let other = issuer.token("shop", "cart").pod("cart-7").mint(NOW);
    assert_eq!(ask(&agent).await.status(), 200);
    assert_eq!(ask_with(&agent, &other).await.status(), 503);
}

#[tokio::test]
async fn bodies_and_messages_of_eks_auth_are_as_the_scenario_says() {
    for (fault, status, expected) in [
        ("status = 502\ntext = \"no upstream\"", 502, "no upstream"),
        ("body = \"[]\"", 200, "[]"),
        ("html = true", 200, "<h1>It works!</h1>"),
        ("malformed = true", 200, "{\"credentials\":"),
        (
            "error = \"AccessDenied\"\nmessage = \"not you\"",
            400,
            "not you",
        ),
    ] {
        let answer = answer_of(fault).await;
        assert_eq!(answer.status, status, "{fault}");
        assert!(answer.body.contains(expected), "{fault}: {}", answer.body);
    }
    assert_eq!(answer_of("empty = true").await.body, "");
    let hinted = answer_of("error = \"ThrottlingException\"\nretry_after = \"1500ms\"").await;
    assert_eq!(hinted.header("x-amz-retry-after"), "1500");
}

#[tokio::test]
async fn each_member_of_a_success_of_eks_auth_can_be_left_out() {
    for path in [
        "assumedRoleUser",
        "assumedRoleUser.arn",
        "assumedRoleUser.assumeRoleId",
        "audience",
        "credentials",
        "credentials.accessKeyId",
        "credentials.expiration",
        "credentials.secretAccessKey",
        "credentials.sessionToken",
        "podIdentityAssociation",
        "podIdentityAssociation.associationArn",
        "podIdentityAssociation.associationId",
        "subject",
        "subject.namespace",
        "subject.serviceAccount",
    ] {
        let pointer = format!("/{}", path.replace('.', "/"));
        let has = |answer: &Answered| {
            answer
                .json()
                .pointer(&pointer)
                .is_some_and(|it| *it != Value::Null)
        };
        let eks = eks_with(&format!("without = \"{path}\"")).await;
        let mut client = Client::connect(&eks).await.unwrap();
        let token = fresh(&eks);
        assert!(!has(&client.assume(&eks, &token).await.unwrap()), "{path}");
        assert!(has(&client.assume(&eks, &token).await.unwrap()), "{path}");
    }
}

async fn answer_of(fault: &str) -> Answered {
    let eks = eks_with(fault).await;
    assume(&eks, &fresh(&eks)).await
}

/// Mints by the system's time, which the mocks here use.
fn fresh(eks: &MockEksAuth) -> String {
    use pod_identity_core::{Clock, SystemClock};

    let now = SystemClock.now();
    eks.issuer().token("shop", "cart").mint(now)
}
