//! Roles with trust policies.

use pod_identity_testkit::{Association, MockEksAuth, Role};
use serde_json::{Value, json};

use crate::common::{Client, NOW, ROLE, assume, token};

const TARGET: &str = "arn:aws:iam::444455556666:role/orders";
/// A role of the account of the cluster.
const OTHER_ROLE: &str = "arn:aws:iam::111122223333:role/orders";
const REFUSAL: &str =
    "Unauthorized Exception! EKS does not have permissions to assume the associated role.";

fn statement(principal: Value, actions: Value, condition: Value) -> Value {
    json!({ "Effect": "Allow", "Principal": principal, "Action": actions, "Condition": condition })
}

fn by_pods(condition: Value) -> Value {
    let principal = json!({ "Service": "pods.eks.amazonaws.com" });
    statement(
        principal,
        json!(["sts:AssumeRole", "sts:TagSession"]),
        condition,
    )
}

fn role(arn: &str, statement: &Value) -> Role {
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
    Role::new(arn).trust_policy(&policy.to_string()).unwrap()
}

async fn trusting(statement: &Value) -> MockEksAuth {
    let eks = MockEksAuth::builder().role(role(ROLE, statement)).start();
    let eks = eks.await.unwrap();
    eks.associate("shop", "cart", ROLE);
    eks
}

/// Mints by the system's clock.
async fn status(eks: &MockEksAuth) -> u16 {
    let now = pod_identity_core::Clock::now(&pod_identity_core::SystemClock);
    let answer = assume(eks, &eks.issuer().token("shop", "cart").mint(now)).await;
    if answer.status != 200 {
        assert_eq!(
            (answer.status, answer.code()),
            (400, "AccessDeniedException")
        );
        assert_eq!(answer.message(), REFUSAL);
    }
    answer.status
}

#[tokio::test]
async fn conditions_on_the_origin_of_the_request_are_evaluated() {
    let equals = |account: &str| json!({ "StringEquals": { "aws:SourceAccount": account } });
    let source = |operator: &str, arn: &str| {
        let condition = json!({ "aws:SourceArn": arn });
        json!({ operator: condition })
    };
    let cluster = "arn:aws:eks:us-west-2:111122223333:cluster/test-cluster";
    let like = "arn:aws:eks:*:111122223333:cluster/test-*";
    let tag =
        |name: &str| json!({ "StringEquals": { "aws:RequestTag/kubernetes-namespace": name } });
    for (condition, expected) in [
        (json!({}), 200),
        (equals("111122223333"), 200),
        (equals("444455556666"), 400),
        (source("ArnEquals", cluster), 200),
        (source("ArnEquals", like), 200),
        (source("ArnLike", like), 200),
        (source("StringLike", like), 200),
        (source("StringEquals", like), 400),
        (
            source("ArnLike", "arn:aws:eks:*:111122223333:cluster/prod"),
            400,
        ),
        (tag("shop"), 200),
        (tag("bank"), 400),
    ] {
        let eks = trusting(&by_pods(condition.clone())).await;
        assert_eq!(status(&eks).await, expected, "{condition}");
    }
}

#[tokio::test]
async fn common_mistakes_are_refused_by_eks_auth_and_the_associations_api() {
    let pods = json!({ "Service": "pods.eks.amazonaws.com" });
    let both = json!(["sts:AssumeRole", "sts:TagSession"]);
    for statement in [
        statement(pods, json!("sts:AssumeRole"), json!({})),
        statement(
            json!({ "Service": "eks.amazonaws.com" }),
            both.clone(),
            json!({}),
        ),
        statement(json!({ "AWS": "*" }), both.clone(), json!({})),
        statement(
            json!({ "Federated": "arn:aws:iam::111122223333:oidc-provider/x" }),
            json!("sts:AssumeRoleWithWebIdentity"),
            json!({}),
        ),
    ] {
        let eks = trusting(&statement).await;
        assert_eq!(status(&eks).await, 400, "{statement}");
        assert_eq!(
            create(&eks, ROLE).await,
            (
                400,
                "Trust policy of the role provided is invalid".to_owned()
            ),
            "{statement}"
        );
    }
}

/// Returns status and message.
async fn create(eks: &MockEksAuth, role: &str) -> (u16, String) {
    let body = json!({ "namespace": "shop", "serviceAccount": "new", "roleArn": role });
    let path = format!("/clusters/{}/pod-identity-associations", eks.cluster());
    let mut client = Client::connect(eks).await.unwrap();
    let answer = client.post(&path, body.to_string()).await.unwrap();
    let message = answer.json()["message"].as_str().map(str::to_owned);
    (answer.status, message.unwrap_or_default())
}

#[tokio::test]
async fn once_a_role_is_defined_every_role_must_be() {
    let eks = trusting(&by_pods(json!({}))).await;
    assert_eq!(
        create(&eks, OTHER_ROLE).await,
        (
            400,
            "Role provided in the request does not exist".to_owned()
        )
    );
    eks.put_role(Role::new(OTHER_ROLE));
    assert_eq!(create(&eks, OTHER_ROLE).await.0, 200);
    let id = eks.associate("shop", "changed", ROLE);
    for (role, status) in [
        (OTHER_ROLE, 200),
        ("arn:aws:iam::111122223333:role/none", 400),
    ] {
        let path = format!("/clusters/test-cluster/pod-identity-associations/{id}");
        let mut client = Client::connect(&eks).await.unwrap();
        let body = json!({ "roleArn": role }).to_string();
        assert_eq!(client.post(&path, body).await.unwrap().status, status);
    }
    eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/deleted");
    assert_eq!(status(&eks).await, 400);
}

#[tokio::test]
async fn a_target_role_must_trust_the_first_one() {
    let eks = trusting(&by_pods(json!({}))).await;
    eks.add(Association::new("shop", "cart", ROLE).target_role_arn(TARGET));
    assert_eq!(status(&eks).await, 400, "it does not exist");
    let assume = json!("sts:AssumeRole");
    let external = |id: &str| json!({ "StringEquals": { "sts:ExternalId": id } });
    let own = "us-west-2/111122223333/test-cluster/shop/cart";
    let tagged =
        |name: &str| json!({ "StringEquals": { "aws:PrincipalTag/kubernetes-namespace": name } });
    for (principal, condition, expected) in [
        (json!({ "AWS": ROLE }), tagged("shop"), 200),
        (json!({ "AWS": ROLE }), tagged("bank"), 400),
        (json!({ "AWS": ROLE }), json!({}), 200),
        (
            json!({ "AWS": "arn:aws:iam::111122223333:root" }),
            external(own),
            200,
        ),
        (
            json!({ "AWS": ROLE }),
            external("us-west-2/1/prod/shop/cart"),
            400,
        ),
        (
            json!({ "Service": "pods.eks.amazonaws.com" }),
            json!({}),
            400,
        ),
    ] {
        let statement = statement(principal, assume.clone(), condition);
        eks.put_role(role(TARGET, &statement));
        assert_eq!(status(&eks).await, expected, "{statement}");
    }
}

#[tokio::test]
async fn without_session_tags_the_trust_policy_need_not_allow_tagging() {
    let pods = json!({ "Service": "pods.eks.amazonaws.com" });
    let eks = trusting(&statement(pods, json!("sts:AssumeRole"), json!({}))).await;
    assert_eq!(status(&eks).await, 400);
    eks.add(Association::new("shop", "cart", ROLE).disable_session_tags());
    assert_eq!(status(&eks).await, 200);
}

#[tokio::test]
async fn without_defined_roles_any_role_is_accepted() {
    let (eks, _clock) = crate::common::shop().await;
    assert_eq!(create(&eks, OTHER_ROLE).await.0, 200);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
    let new = eks.issuer().token("shop", "new").mint(NOW);
    assert_eq!(assume(&eks, &new).await.status, 200);
}
