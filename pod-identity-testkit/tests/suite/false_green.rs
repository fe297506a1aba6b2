//! What a test has not shown fails it.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use http::Method;
use pod_identity_testkit::{
    ApiErrorCode, Defect, Fault, Field, Gate, MockAgent, MockEksAuth, Operation, Scenario,
    SignatureCheck,
};
use serde_json::json;

use crate::common::{Client, ROLE, assume, shop, signed, token};
use crate::raw::{agent, ask, ask_with, at_rest};

const ALL: &str = "/clusters/test-cluster/pod-identity-associations";

/// What the end of a mock says.
fn complaint<M>(mock: M) -> Option<String> {
    let panic = panic::catch_unwind(AssertUnwindSafe(|| drop(mock))).err()?;
    panic.downcast_ref::<String>().cloned()
}

fn refusal(inject: impl FnOnce()) -> String {
    let panic = panic::catch_unwind(AssertUnwindSafe(inject)).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[tokio::test]
async fn a_fault_that_no_request_meets_fails_the_test() {
    let gate = Gate::new();
    let hour = Duration::from_secs(3600);
    for fault in [
        Fault::status(503).nth(2),
        Fault::status(503).pod("other"),
        Fault::status(503).token_age(1),
        Fault::status(503).after(hour),
        Fault::latency(hour).after(hour).always(),
        Fault::refuse(hour).after(hour),
        Fault::unreachable(hour).after(hour),
        Fault::status(503).until(&gate),
    ] {
        gate.release();
        let agent = agent().await;
        agent.inject(fault);
        ask(&agent).await;
        let complaint = complaint(agent).unwrap();
        assert!(complaint.contains("no request met "), "{complaint}");
        assert!(
            complaint.contains("make the fault `optional`"),
            "{complaint}"
        );
        assert!(
            complaint.contains("   1  +0.000 s"),
            "with the timeline: {complaint}"
        );
    }
}

#[tokio::test]
async fn the_expectations_of_a_scenario_are_verified() {
    let scenario = Scenario::from_toml(
        r#"
        [[agent.expectations]]
        times = 1
        no_bearer_prefix = true

        [[agent.expectations]]
        paced = "1s"
        optional = true

        [[eks.expectations]]
        operation = "CreatePodIdentityAssociation"
        at_least = 1
        "#,
    );
    let scenario = scenario.unwrap();
    let agent = async || {
        let agent = at_rest().0.scenario(&scenario).start().await.unwrap();
        ask(&agent).await;
        agent
    };
    assert_eq!(complaint(agent().await), None);
    let twice = agent().await;
    ask(&twice).await;
    let twice = complaint(twice).unwrap();
    for wanted in [
        "expected 1 requests, saw 2",
        "request 2 came less than 1s after the last",
    ] {
        assert!(twice.contains(wanted), "{twice}");
    }
    let eks = MockEksAuth::builder().scenario(&scenario).start().await;
    let eks = complaint(eks.unwrap()).unwrap();
    let wanted = "CreatePodIdentityAssociation: expected at least 1 requests, saw 0";
    assert!(eks.contains(wanted), "{eks}");
}

#[tokio::test]
async fn a_fault_counts_for_the_one_request_that_it_changed_and_clearing_does_not_make_up_for_it() {
    let agent = agent().await;
    agent.inject_next(7, Fault::status(500));
    agent.inject(Fault::status(429).optional());
    agent.inject_always(Fault::latency(Duration::from_millis(1)));
    ask(&agent).await;
    agent.verify();
    agent.inject(Fault::malformed());
    agent.clear_faults();
    let complaint = complaint(agent).unwrap();
    assert!(complaint.contains("malformed"), "{complaint}");
    assert!(!complaint.contains("429"), "{complaint}");
}

#[tokio::test]
async fn a_change_of_a_success_is_unused_until_there_is_a_success() {
    let agent = agent().await;
    agent.inject_next(2, Fault::field(Field::Token, Defect::Missing));
    assert_eq!(ask_with(&agent, "no token").await.status(), 400);
    assert!(refusal(|| agent.verify()).contains("no request met"));
    ask(&agent).await;
    agent.verify();
}

#[tokio::test]
async fn each_operation_has_its_faults_and_expectations() {
    let (eks, _clock) = shop().await;
    eks.on(Operation::ListPodIdentityAssociations)
        .inject(ApiErrorCode::Throttling);
    eks.expect_on(Operation::CreatePodIdentityAssociation)
        .times(0);
    eks.expect()
        .times(2)
        .single_flight()
        .paced(Duration::from_secs(1));
    assume(&eks, &token(&eks)).await;
    let complaint = complaint(eks).unwrap();
    for part in [
        "mock of EKS Auth at 127.0.0.1:",
        "AssumeRoleForPodIdentity: expected 2 requests, saw 1",
        "AssumeRoleForPodIdentity: no second request came that has a pace",
        "call `optional` on the expectation",
        " of ListPodIdentityAssociations",
        "AssumeRoleForPodIdentity  POST /clusters/test-cluster/assume-role-for-pod-identity  200 ASIA",
    ] {
        assert!(complaint.contains(part), "{part}: {complaint}");
    }
    assert!(!complaint.contains("CreatePod"), "{complaint}");
}

#[tokio::test]
async fn an_expectation_that_nothing_could_break_fails_unless_it_is_optional() {
    for optional in [false, true] {
        let agent = agent().await;
        let expected = agent
            .expect()
            .single_flight()
            .token_reread()
            .no_bearer_prefix()
            .connection_reuse()
            .paced(Duration::from_secs(1));
        if optional {
            expected.optional();
            assert_eq!(complaint(agent), None);
            continue;
        }
        let complaint = complaint(agent).unwrap();
        for part in [
            "no request came, so none was the only one in flight",
            "no request came after a rotation",
            "no request came with a token",
            "no second request came that could reuse a connection",
            "no second request came that has a pace",
        ] {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
    }
}

#[tokio::test]
async fn a_token_is_only_read_again_if_it_has_changed() {
    let agent = agent().await;
    agent.expect().token_reread();
    ask(&agent).await;
    assert!(refusal(|| agent.verify()).contains("no request came after a rotation"));
    agent.rotate();
    ask(&agent).await;
    agent.verify();
    assert_eq!(agent.requests()[1].rotations, 1);
}

#[tokio::test]
async fn signatures_are_expected_where_they_are_verified() {
    for (check, words) in [
        (
            SignatureCheck::Off,
            "no request came whose signature the mock verifies",
        ),
        (SignatureCheck::Warn, "request 1 has a wrong signature"),
    ] {
        let eks = MockEksAuth::builder()
            .signatures(check)
            .start()
            .await
            .unwrap();
        eks.expect().signed();
        assume(&eks, "x").await;
        assert!(complaint(eks).unwrap().contains(words));
    }
}

#[tokio::test]
async fn a_wrong_path_is_refused_when_the_fault_is_given() {
    let (eks, _clock) = shop().await;
    for operation in Operation::ALL {
        let fault = Fault::field("association.role", Defect::Null);
        let words = refusal(|| eks.on(operation).inject(fault));
        let known = [
            "association.role is not a member of",
            "has no member that a fault can change",
            "is an operation of",
        ];
        assert!(known.iter().any(|known| words.contains(known)), "{words}");
    }
    let describe = eks.on(Operation::DescribePodIdentityAssociation);
    describe.inject(Fault::field("association.roleArn", Defect::Null));
    describe.inject(Fault::field("association.policy", Defect::Null));
    let id = eks.associate("shop", "cart", ROLE);
    for _ in 0..2 {
        let request = signed(&format!("{ALL}/{id}")).method(Method::GET);
        let request = request.body(String::new().into()).unwrap();
        let mut client = Client::connect(&eks).await.unwrap();
        assert_eq!(client.send(request).await.unwrap().status, 200);
    }
    let complaint = complaint(eks).unwrap();
    assert!(
        complaint.contains("association.policy"),
        "it has none: {complaint}"
    );
    assert!(!complaint.contains("association.roleArn"), "{complaint}");
}

#[tokio::test]
async fn parameters_and_bodies_are_recorded_without_secrets() {
    let (eks, _clock) = shop().await;
    let secret = token(&eks);
    assume(&eks, &secret).await;
    let body = json!({"namespace": "shop", "serviceAccount": "till", "roleArn": ROLE});
    let mut client = Client::connect(&eks).await.unwrap();
    client.post(ALL, body.to_string()).await.unwrap();
    let list = format!("{ALL}?namespace=shop&maxResults=5");
    let list = signed(&list).method(Method::GET).body(String::new().into());
    client.send(list.unwrap()).await.unwrap();
    let requests = eks.requests();
    assert_eq!(requests[0].body, Some(json!({"token": "redacted"})));
    assert_eq!(requests[1].body, Some(body));
    assert_eq!(requests[2].parameters["namespace"], "shop");
    assert_eq!(requests[2].parameters["maxResults"], "5");
    eks.assert_no_secrets(&format!("{requests:?}"));
}

#[tokio::test]
async fn a_mock_that_is_unverified_says_nothing_at_its_end() {
    let (builder, _clock) = at_rest();
    let agent: MockAgent = builder.unverified().start().await.unwrap();
    agent.inject(Fault::status(503));
    agent.expect().times(3);
    assert!(refusal(|| agent.verify()).contains("expected 3 requests"));
    assert_eq!(complaint(agent), None);
}
