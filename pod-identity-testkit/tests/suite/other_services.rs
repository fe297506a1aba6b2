//! What is meant for other services of AWS, or is not there.

use http::Method;
use pod_identity_testkit::{ApiErrorCode, MockEksAuth, Operation};
use serde_json::{Value, json};

use crate::common::{Answered, NOW, shop, token};
use crate::signing::send;

/// A request with the signature of a service, whose form or JSON is in the body.
async fn call(eks: &MockEksAuth, service: &str, method: Method, uri: &str, body: &str) -> Answered {
    let scope = format!("20260301/us-west-2/{service}/aws4_request");
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "aws.test")
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential=AKIA/{scope}"),
        );
    send(eks, request.body(body.to_owned().into()).unwrap()).await
}

#[tokio::test]
async fn a_request_is_recorded_as_what_it_is_and_leaves_the_faults_of_others_alone() {
    let (eks, _clock) = shop().await;
    eks.on(Operation::GetCallerIdentity)
        .inject(ApiErrorCode::AccessDenied);
    for (service, method, uri, body, action, status) in [
        (
            "iam",
            Method::POST,
            "/",
            "Action=ListRoles",
            "iam:ListRoles",
            400,
        ),
        (
            "sts",
            Method::POST,
            "/",
            "Action=AssumeRole&RoleArn=x",
            "sts:AssumeRole",
            400,
        ),
        ("s3", Method::GET, "/", "", "s3:GET", 501),
        (
            "s3",
            Method::PUT,
            "/clusters/test-cluster",
            "x",
            "s3:PUT",
            501,
        ),
        (
            "eks",
            Method::DELETE,
            "/clusters/test-cluster",
            "",
            "eks:DELETE",
            404,
        ),
    ] {
        let answer = call(&eks, service, method, uri, body).await;
        assert_eq!(answer.status, status, "{action}");
        assert!(
            answer.body.contains(&format!("this mock has no {action}")),
            "{}",
            answer.body
        );
        assert!(
            answer.body.contains("it has AssumeRoleForPodIdentity, "),
            "{}",
            answer.body
        );
        let requests = eks.requests();
        let request = requests.last().unwrap();
        assert_eq!(
            (request.operation, request.action.as_str()),
            (Operation::Unknown, action)
        );
        assert!(request.outcome.as_ref().unwrap().code.is_some());
    }
    assert_eq!(eks.requests()[1].parameters["RoleArn"], "x");
    let identity = call(&eks, "sts", Method::POST, "/", "Action=GetCallerIdentity").await;
    assert_eq!(
        identity.status, 403,
        "its fault is still there: {}",
        identity.body
    );
}

#[tokio::test]
async fn json_with_its_operation_in_a_header_is_answered_in_kind() {
    let (eks, _clock) = shop().await;
    let request = http::Request::post("/").header("host", "ecs.test").header(
        "x-amz-target",
        "AmazonEC2ContainerServiceV20141113.ListClusters",
    );
    let answer = send(&eks, request.body("{}".to_owned().into()).unwrap()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["__type"], "UnknownOperationException");
    assert_eq!(eks.requests()[0].action, "ListClusters");
}

#[tokio::test]
async fn an_update_can_be_described_and_a_cluster_has_nothing_else() {
    let (eks, _clock) = shop().await;
    let addons = "/clusters/test-cluster/addons";
    let call = |method, path: String, body: Value| {
        let eks = &eks;
        async move {
            let answer = call(eks, "eks", method, &path, &body.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()
        }
    };
    call(
        Method::POST,
        addons.to_owned(),
        json!({"addonName": "vpc-cni"}),
    )
    .await;
    let update = json!({"addonVersion": "v2"});
    let updated = call(Method::POST, format!("{addons}/vpc-cni/update"), update).await;
    let id = updated["update"]["id"].as_str().unwrap();
    let one = format!("/clusters/test-cluster/updates/{id}?addonName=vpc-cni");
    let described = call(Method::GET, one, Value::Null).await;
    assert_eq!(described["update"], updated["update"]);
    assert_eq!(described["update"]["createdAt"], NOW.as_unix_secs());
    for (path, answer) in [
        ("updates?addonName=vpc-cni", json!({"updateIds": [id]})),
        ("updates", json!({"updateIds": []})),
        ("node-groups", json!({"nodegroups": []})),
        ("fargate-profiles", json!({"fargateProfileNames": []})),
        ("access-entries", json!({"accessEntries": []})),
        (
            "identity-provider-configs",
            json!({"identityProviderConfigs": []}),
        ),
    ] {
        let path = format!("/clusters/test-cluster/{path}");
        assert_eq!(call(Method::GET, path, Value::Null).await, answer);
    }
    let path = "/addons/configuration-schemas?addonName=vpc-cni&addonVersion=v2".to_owned();
    let configuration = call(Method::GET, path, Value::Null).await;
    assert_eq!(
        configuration["podIdentityConfiguration"][0]["serviceAccount"],
        "aws-node"
    );
    let versions = call(Method::GET, "/cluster-versions".to_owned(), Value::Null).await;
    assert_eq!(versions["clusterVersions"][0]["clusterVersion"], "1.34");
}

#[tokio::test]
async fn the_provider_arn_is_in_the_success_if_it_is_set() {
    let arn = "arn:aws:eks:us-west-2:111122223333:workloadidentityprovider/x";
    let builder = MockEksAuth::builder().workload_identity_provider_arn(arn);
    let eks = builder.start().await.unwrap();
    eks.associate("shop", "cart", crate::common::ROLE);
    let token = eks
        .issuer()
        .token("shop", "cart")
        .mint(pod_identity_core::Clock::now(
            &pod_identity_core::SystemClock,
        ));
    let answer = crate::common::assume(&eks, &token).await;
    assert_eq!(answer.json()["workloadIdentityProviderArn"], arn);
    let (eks, _clock) = shop().await;
    let answer = crate::common::assume(&eks, &self::token(&eks)).await;
    assert!(answer.json().get("workloadIdentityProviderArn").is_none());
}
