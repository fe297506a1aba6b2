//! Faults of single operations: the associations API, STS, the issuer's documents.

use std::time::Duration;

use http::{Method, Request};
use pod_identity_core::wire::eks_auth::{AssumeRoleResponse, ErrorCode};
use pod_identity_testkit::{
    ApiError, ApiErrorCode, Fault, MockEksAuth, Operation, ServiceError, Stage,
};
use serde_json::{Value, json};

use crate::common::{Answered, Client, ROLE, assume, shop, signed, soon, token};
use crate::signing::{Signer, send};

const HOUR: Duration = Duration::from_secs(3600);
const HINT: Duration = Duration::from_millis(1500);
const ALL: &str = "/clusters/test-cluster/pod-identity-associations";

/// Lists the associations.
async fn list(eks: &MockEksAuth) -> Answered {
    let request = signed(ALL).method(Method::GET);
    send(eks, request.body(String::new().into()).unwrap()).await
}

async fn create(eks: &MockEksAuth) -> Answered {
    let order = json!({ "namespace": "shop", "serviceAccount": "order", "roleArn": ROLE });
    send(eks, signed(ALL).body(order.to_string().into()).unwrap()).await
}

/// `GetCallerIdentity` by minted credentials.
async fn identity(eks: &MockEksAuth) -> Answered {
    let granted: AssumeRoleResponse =
        serde_json::from_str(&assume(eks, &token(eks)).await.body).unwrap();
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    let signer = Signer::of("sts", &granted);
    send(eks, signer.sign(Method::POST, "/", form)).await
}

#[tokio::test]
async fn each_error_of_the_api_has_its_status_code_and_message() {
    let (eks, _clock) = shop().await;
    let statuses = [403, 400, 400, 400, 404, 409, 400, 404, 400, 500, 503, 429];
    for (code, status) in ApiErrorCode::ALL.into_iter().zip(statuses) {
        assert_eq!(ApiErrorCode::from_name(code.name()), Some(code));
        eks.on(Operation::ListPodIdentityAssociations).inject(code);
        let answer = list(&eks).await;
        assert_eq!((answer.status, answer.code()), (status, code.name()));
        assert!(!answer.message().is_empty());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-amzn-RequestId").len(), 36);
        let requests = eks.requests();
        let outcome = requests.last().unwrap().outcome.as_ref().unwrap();
        assert_eq!(outcome.code.as_deref(), Some(code.name()));
    }
    assert_eq!(list(&eks).await.status, 200, "all of them are used up");
}

#[tokio::test]
async fn the_limit_of_associations_can_be_reached_by_a_fault() {
    let (eks, _clock) = shop().await;
    let full = "The cluster test-cluster has reached its limit of 5000 associations.";
    let error = ApiError::new(ApiErrorCode::ResourceLimitExceeded).message(full);
    assert_eq!(error.code(), ApiErrorCode::ResourceLimitExceeded);
    eks.on(Operation::CreatePodIdentityAssociation)
        .inject(error);
    let refused = create(&eks).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "ResourceLimitExceededException")
    );
    assert_eq!(refused.message(), full);
    assert_eq!(create(&eks).await.status, 200, "nothing was created before");
}

#[tokio::test]
async fn an_error_of_sts_has_the_message_and_the_form_of_sts() {
    let (eks, _clock) = shop().await;
    let sts = eks.on(Operation::GetCallerIdentity);
    let faults: [(Fault, u16, &str, &str); 5] = [
        (ApiErrorCode::Throttling.into(), 400, "Throttling", "Sender"),
        (
            ApiErrorCode::AccessDenied.into(),
            403,
            "AccessDenied",
            "Sender",
        ),
        (
            ApiErrorCode::Server.into(),
            500,
            "InternalFailure",
            "Receiver",
        ),
        (
            ApiErrorCode::ServiceUnavailable.into(),
            503,
            "ServiceUnavailable",
            "Receiver",
        ),
        (ErrorCode::Throttling.into(), 400, "Throttling", "Sender"),
    ];
    for (fault, status, code, side) in faults {
        sts.inject(fault);
        let answer = identity(&eks).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "text/xml")
        );
        for part in [
            format!("<Code>{code}</Code>"),
            format!("<Type>{side}</Type>"),
        ] {
            assert!(answer.body.contains(&part), "{part}: {}", answer.body);
        }
        let requests = eks.requests();
        let outcome = requests.last().unwrap().outcome.as_ref().unwrap();
        assert_eq!(outcome.code.as_deref(), Some(code));
    }
    sts.inject(ApiError::new(ApiErrorCode::AccessDenied).message("<you> & me"));
    let answer = identity(&eks).await;
    assert!(answer.body.contains("&lt;you&gt; &amp; me"));
    assert_eq!(identity(&eks).await.status, 200);
}

#[tokio::test]
async fn a_fault_applies_only_to_its_operation() {
    let (eks, _clock) = shop().await;
    for operation in Operation::ALL {
        assert_eq!(Operation::from_name(operation.name()), Some(operation));
    }
    eks.inject_always(ErrorCode::InternalServer);
    eks.on(Operation::ListPodIdentityAssociations)
        .inject_always(ApiErrorCode::Throttling);
    assert_eq!(create(&eks).await.status, 200);
    assert_eq!(list(&eks).await.status, 429);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 500);

    eks.on(Operation::ListPodIdentityAssociations).clear();
    assert_eq!(list(&eks).await.status, 200);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 500);
    eks.on(Operation::JsonWebKeySet)
        .inject_always(Fault::stall(Stage::BeforeHeaders).optional());
    eks.clear_faults();
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
    let keys = Request::get("/keys").body(String::new().into()).unwrap();
    assert_eq!(soon(send(&eks, keys)).await.status, 200);
}

#[tokio::test]
async fn the_conditions_of_a_fault_count_for_one_operation() {
    let (eks, clock) = shop().await;
    let lists = eks.on(Operation::ListPodIdentityAssociations);
    lists.inject(Fault::text(502, "<html>").nth(2));
    lists.inject_next(
        1,
        ServiceError::new(ErrorCode::Throttling).retry_after(HINT),
    );
    assert_eq!(create(&eks).await.status, 200, "it does not count");
    let throttled = list(&eks).await;
    assert_eq!(throttled.status, 429);
    assert_eq!(throttled.header("x-amz-retry-after"), "1500");
    assert_eq!(list(&eks).await.body, "<html>");
    assert_eq!(list(&eks).await.status, 200);

    clock.advance(HOUR);
    lists.inject(Fault::from(ApiErrorCode::ServiceUnavailable).lasting(HOUR));
    clock.advance(HOUR / 2);
    assert_eq!(list(&eks).await.status, 503);
    clock.advance(HOUR / 2);
    assert_eq!(list(&eks).await.status, 200);
}

#[tokio::test]
async fn the_control_plane_can_stall_and_reset_connections() {
    let (eks, _clock) = shop().await;
    let lists = eks.on(Operation::ListPodIdentityAssociations);
    let request = || {
        let request = signed(ALL).method(Method::GET);
        request.body(String::new().into()).unwrap()
    };
    lists.inject(Fault::reset(Stage::BeforeHeaders));
    let mut client = Client::connect(&eks).await.unwrap();
    client.send(request()).await.unwrap_err();
    soon(client.closed()).await;

    let gate = lists.gate();
    let mut client = Client::connect(&eks).await.unwrap();
    let release = async {
        gate.wait_for(1).await;
        gate.release();
    };
    let (answer, ()) = soon(async { tokio::join!(client.send(request()), release) }).await;
    assert_eq!(answer.unwrap().status, 200);

    lists.inject(Fault::stall(Stage::BeforeHeaders));
    let clear = async {
        eks.wait_for_requests(3).await;
        lists.clear();
    };
    let (answer, ()) = soon(async { tokio::join!(client.send(request()), clear) }).await;
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn a_member_of_any_success_can_be_left_out() {
    let (eks, _clock) = shop().await;
    eks.on(Operation::CreatePodIdentityAssociation)
        .inject(Fault::without("association.associationId"));
    let association = create(&eks).await.json()["association"].clone();
    assert_eq!(association["associationId"], Value::Null);
    assert_eq!(association["serviceAccount"], "order");
    eks.on(Operation::CreatePodIdentityAssociation)
        .inject(Fault::without("association").optional());
    assert_eq!(create(&eks).await.status, 409, "a refusal stays as it is");
    eks.on(Operation::OpenIdConfiguration)
        .inject(Fault::without("jwks_uri"));
    let document = Request::get("/.well-known/openid-configuration");
    let document = send(&eks, document.body(String::new().into()).unwrap()).await;
    assert_eq!(document.json()["jwks_uri"], Value::Null);
}
