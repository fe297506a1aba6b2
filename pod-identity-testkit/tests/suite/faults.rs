//! Each injected fault, alone and together.

use std::time::Duration;

use pod_identity_core::ServiceAccountToken;
use pod_identity_core::wire::eks_auth::{AssumeRoleRequest, ErrorCode};
use pod_identity_testkit::{Ending, Fault, Gate, ServiceError, Stage};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::common::{Client, NOW, assume, shop, soon, token};

#[tokio::test]
async fn each_of_the_nine_errors_has_its_status_code_and_message() {
    let (eks, _clock) = shop().await;
    for (code, status, name) in [
        (ErrorCode::AccessDenied, 400, "AccessDeniedException"),
        (ErrorCode::ExpiredToken, 400, "ExpiredTokenException"),
        (ErrorCode::InternalServer, 500, "InternalServerException"),
        (
            ErrorCode::InvalidParameter,
            400,
            "InvalidParameterException",
        ),
        (ErrorCode::InvalidRequest, 400, "InvalidRequestException"),
        (ErrorCode::InvalidToken, 400, "InvalidTokenException"),
        (
            ErrorCode::ResourceNotFound,
            404,
            "ResourceNotFoundException",
        ),
        (
            ErrorCode::ServiceUnavailable,
            503,
            "ServiceUnavailableException",
        ),
        (ErrorCode::Throttling, 429, "ThrottlingException"),
    ] {
        eks.inject(code);
        let answer = assume(&eks, &token(&eks)).await;
        assert_eq!((answer.status, answer.code()), (status, name));
        assert_eq!(
            answer
                .json()
                .as_object()
                .unwrap()
                .keys()
                .collect::<Vec<_>>(),
            ["message"]
        );
        assert!(!answer.message().is_empty());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-amzn-RequestId").len(), 36);
        assert_eq!(answer.header("x-amz-retry-after"), "");
    }
    assert_eq!(
        assume(&eks, &token(&eks)).await.status,
        200,
        "all nine are used up"
    );
}

#[tokio::test]
async fn an_error_can_have_another_message_and_a_hint_in_milliseconds() {
    let (eks, _clock) = shop().await;
    let error = ServiceError::new(ErrorCode::Throttling)
        .message("slow down")
        .retry_after(Duration::from_millis(1500));
    eks.inject(error);
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(answer.body, r#"{"message":"slow down"}"#);
    assert_eq!(answer.header("x-amz-retry-after"), "1500");
}

#[tokio::test]
async fn faults_are_used_up_in_the_order_in_which_they_were_queued() {
    let (eks, _clock) = shop().await;
    eks.inject_next(2, ErrorCode::Throttling);
    eks.inject(ErrorCode::InternalServer);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(assume(&eks, &token(&eks)).await.status);
    }
    assert_eq!(statuses, [429, 429, 500, 200]);
}

#[tokio::test]
async fn a_persistent_fault_applies_when_the_queue_is_empty_until_cleared() {
    let (eks, _clock) = shop().await;
    eks.inject_always(ErrorCode::ServiceUnavailable);
    eks.inject(ErrorCode::Throttling);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(assume(&eks, &token(&eks)).await.status);
    }
    eks.clear_faults();
    statuses.push(assume(&eks, &token(&eks)).await.status);
    assert_eq!(statuses, [429, 503, 503, 200]);
}

#[tokio::test]
async fn a_status_and_a_body_are_sent_unchanged() {
    let (eks, _clock) = shop().await;
    eks.inject(Fault::text(502, "<html>bad gateway</html>"));
    eks.inject(Fault::body("{\"credentials\":"));
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.code()),
        (502, "<html>bad gateway</html>", "")
    );
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"credentials\":")
    );
}

#[tokio::test]
async fn a_closure_answers_from_the_request() {
    let (eks, _clock) = shop().await;
    eks.inject(Fault::respond(|request| {
        let asked: AssumeRoleRequest = serde_json::from_slice(request.body()).unwrap();
        let token = ServiceAccountToken::parse(asked.token.expose()).unwrap();
        http::Response::builder()
            .status(418)
            .header("x-amzn-RequestId", "mine")
            .body(String::from(token.claims().pod.clone().unwrap()))
            .unwrap()
    }));
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (418, "cart-0123456789")
    );
    assert_eq!(answer.header("x-amzn-RequestId"), "mine");
}

#[tokio::test(start_paused = true)]
async fn latency_delays_the_normal_response_or_the_next_fault() {
    let (eks, _clock) = shop().await;
    let latency = Duration::from_secs(3600);
    eks.inject_next(2, Fault::latency(latency));
    eks.inject(ErrorCode::Throttling);
    for (status, at_least) in [(429, latency), (200, latency), (200, Duration::ZERO)] {
        let start = Instant::now();
        assert_eq!(assume(&eks, &token(&eks)).await.status, status);
        assert_eq!(start.elapsed().as_secs(), at_least.as_secs());
    }
}

#[tokio::test]
async fn a_gate_holds_requests_until_released() {
    let (eks, _clock) = shop().await;
    let gate = eks.gate();
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        let token = token(&eks);
        let mut client = Client::connect(&eks).await.unwrap();
        let path = pod_identity_core::wire::eks_auth::path(eks.cluster());
        let body = serde_json::json!({ "token": token }).to_string();
        clients.spawn(async move { client.post(&path, body).await.unwrap().status });
    }
    soon(gate.wait_for(3)).await;
    assert_eq!((eks.in_flight(), gate.waiting()), (3, 3));
    assert!(
        eks.requests()
            .iter()
            .all(|request| request.outcome.is_none())
    );

    gate.release();
    assert_eq!(soon(clients.join_all()).await, [200; 3]);
    assert_eq!(
        (eks.in_flight(), eks.max_in_flight(), gate.waiting()),
        (0, 3, 0)
    );
    assert_eq!(
        assume(&eks, &token(&eks)).await.status,
        200,
        "it stays open"
    );
}

#[tokio::test]
async fn each_of_two_queued_gates_holds_its_own_request() {
    let (eks, _clock) = shop().await;
    let (first, second) = (Gate::new(), Gate::new());
    eks.inject(Fault::hold(Stage::BeforeHeaders, &first));
    eks.inject(Fault::hold(Stage::BeforeHeaders, &second));
    let token = token(&eks);
    let one = assume(&eks, &token);
    let other = async {
        first.wait_for(1).await;
        let other = assume(&eks, &token);
        let release = async {
            second.wait_for(1).await;
            assert_eq!((first.waiting(), second.waiting()), (1, 1));
            second.release();
            eks.wait_for_answers(1).await;
            first.release();
        };
        tokio::join!(other, release).0
    };
    let (one, other) = soon(async { tokio::join!(one, other) }).await;
    assert_eq!((one.status, other.status), (200, 200));
}

#[tokio::test]
async fn a_stalled_request_continues_when_the_faults_are_cleared() {
    let (eks, _clock) = shop().await;
    eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    let token = token(&eks);
    let clear = async {
        eks.wait_for_requests(1).await;
        eks.clear_faults();
    };
    let (answer, ()) = soon(async { tokio::join!(assume(&eks, &token), clear) }).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_stalled_request_ends_when_its_client_disconnects() {
    let (eks, _clock) = shop().await;
    eks.inject(Fault::stall(Stage::BeforeHeaders));
    let mut client = Client::connect(&eks).await.unwrap();
    let token = token(&eks);
    tokio::select! {
        _ = client.assume(&eks, &token) => panic!("it must hang"),
        () = soon(eks.wait_for_requests(1)) => {}
    }
    drop(client);
    soon(eks.wait_until_idle()).await;
    assert_eq!(eks.requests()[0].outcome, None);
}

#[tokio::test]
async fn a_close_ends_the_connection_without_a_response() {
    let (eks, _clock) = shop().await;
    eks.inject(Fault::close(Stage::BeforeHeaders));
    let mut client = Client::connect(&eks).await.unwrap();
    let error = client.assume(&eks, &token(&eks)).await.unwrap_err();
    assert!(
        error.is_incomplete_message() || error.is_closed(),
        "{error:?}"
    );
    soon(client.closed()).await;
    let outcome = eks.requests()[0].outcome.clone().unwrap();
    let ending = Some(Ending::Closed(Stage::BeforeHeaders));
    assert_eq!((outcome.status, outcome.ending), (None, ending));
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
}

#[tokio::test]
async fn an_expiry_can_be_set() {
    let (eks, _clock) = shop().await;
    for seconds in [0, 15, 86_400] {
        eks.inject(Fault::expires_in(Duration::from_secs(seconds)));
        let body = assume(&eks, &token(&eks)).await.json();
        let expiration = NOW + Duration::from_secs(seconds);
        assert_eq!(body["credentials"]["expiration"], expiration.as_unix_secs());
    }
    assert_eq!(eks.minted().len(), 3);
}

#[tokio::test]
async fn a_member_of_a_success_can_be_left_out() {
    let (eks, _clock) = shop().await;
    for (member, pointer) in [
        ("credentials", "/credentials"),
        ("credentials.expiration", "/credentials/expiration"),
        ("credentials.accessKeyId", "/credentials/accessKeyId"),
        ("podIdentityAssociation", "/podIdentityAssociation"),
        ("assumedRoleUser.arn", "/assumedRoleUser/arn"),
        ("subject.namespace", "/subject/namespace"),
    ] {
        eks.inject(Fault::without(member));
        let answer = assume(&eks, &token(&eks)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json().pointer(pointer), None, "{member}");
        assert!(answer.json().get("audience").is_some());
    }
}

#[tokio::test]
async fn the_debug_output_of_a_fault_contains_no_body() {
    for fault in [Fault::body("hunter2"), Fault::text(200, "hunter2")] {
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
}
