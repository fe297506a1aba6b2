//! The associations API of EKS, as a rest-json client sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use pod_identity_testkit::{Association, Gate, MockEksAuth, Operation, Visibility};
use serde_json::{Value, json};

use crate::common::{Answered, Client, NOW, ROLE, assume, shop, signed};

const ALL: &str = "/clusters/test-cluster/pod-identity-associations";
const TARGET: &str = "arn:aws:iam::444455556666:role/orders";
/// A role of the account of the cluster.
const OTHER_ROLE: &str = "arn:aws:iam::111122223333:role/orders";

/// Makes one call over its own connection.
async fn call(eks: &MockEksAuth, method: Method, path: &str, body: Value) -> Answered {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = signed(path).method(method).body(body.into()).unwrap();
    let mut client = Client::connect(eks).await.unwrap();
    client.send(request).await.unwrap()
}

async fn post(eks: &MockEksAuth, path: &str, body: Value) -> Answered {
    call(eks, Method::POST, path, body).await
}

async fn get(eks: &MockEksAuth, path: &str) -> Answered {
    call(eks, Method::GET, path, Value::Null).await
}

async fn delete(eks: &MockEksAuth, path: &str) -> Answered {
    call(eks, Method::DELETE, path, Value::Null).await
}

fn order() -> Value {
    json!({ "namespace": "shop", "serviceAccount": "order", "roleArn": ROLE })
}

fn with(mut body: Value, name: &str, value: impl Into<Value>) -> Value {
    body[name] = value.into();
    body
}

/// Creates an association and returns it.
async fn created(eks: &MockEksAuth, body: Value) -> Value {
    let answer = post(eks, ALL, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["association"].clone()
}

fn path_of(association: &Value) -> String {
    format!("{ALL}/{}", association["associationId"].as_str().unwrap())
}

fn tags_of(association: &Value) -> String {
    let arn = association["associationArn"].as_str().unwrap();
    format!("/tags/{}", arn.replace(':', "%3A").replace('/', "%2F"))
}

#[tokio::test]
async fn an_association_is_created_described_updated_listed_and_deleted() {
    let (eks, clock) = shop().await;
    let association = created(&eks, with(order(), "tags", json!({ "team": "web" }))).await;
    let id = association["associationId"].as_str().unwrap();
    assert_eq!((id.len(), &id[..2]), (19, "a-"));
    let arn =
        format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/test-cluster/{id}");
    let expected = json!({
        "clusterName": "test-cluster",
        "namespace": "shop",
        "serviceAccount": "order",
        "roleArn": ROLE,
        "associationArn": arn,
        "associationId": id,
        "tags": { "team": "web" },
        "createdAt": NOW.as_unix_secs(),
        "modifiedAt": NOW.as_unix_secs(),
        "disableSessionTags": false,
    });
    assert_eq!(association, expected);
    let path = path_of(&association);
    assert_eq!(get(&eks, &path).await.json()["association"], expected);

    clock.advance(Duration::from_millis(1500));
    let updated = post(&eks, &path, json!({ "targetRoleArn": TARGET })).await;
    let updated = updated.json()["association"].clone();
    assert_eq!(updated["targetRoleArn"], TARGET);
    assert_eq!(
        updated["externalId"],
        "us-west-2/111122223333/test-cluster/shop/order"
    );
    assert_eq!(updated["createdAt"], NOW.as_unix_secs());
    assert_eq!(updated["modifiedAt"], json!(1_772_366_401.5));

    let listed = get(&eks, ALL).await.json()["associations"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 2, "that of `shop()` too");
    assert_eq!(
        listed[1],
        json!({
            "clusterName": "test-cluster",
            "namespace": "shop",
            "serviceAccount": "order",
            "associationArn": arn,
            "associationId": id,
        })
    );

    assert_eq!(delete(&eks, &path).await.json()["association"], updated);
    let gone = delete(&eks, &path).await;
    assert_eq!(
        (gone.status, gone.code()),
        (404, "ResourceNotFoundException")
    );
    assert_eq!(get(&eks, &path).await.status, 404);
    assert_eq!(
        eks.requests()[0].operation,
        Operation::CreatePodIdentityAssociation
    );
}

#[tokio::test]
async fn a_service_account_has_one_association() {
    let (eks, _clock) = shop().await;
    let first = created(&eks, order()).await;
    let second = post(&eks, ALL, order()).await;
    assert_eq!(
        (second.status, second.code()),
        (409, "ResourceInUseException")
    );
    assert_eq!(
        second.message(),
        format!(
            "Association already exists: {}",
            first["associationId"].as_str().unwrap()
        )
    );
    delete(&eks, &path_of(&first)).await;
    created(&eks, order()).await;
}

#[tokio::test]
async fn a_client_token_makes_creation_repeatable() {
    let (eks, _clock) = shop().await;
    let body = with(order(), "clientRequestToken", "t-1");
    let first = created(&eks, body.clone()).await;
    assert_eq!(created(&eks, body.clone()).await, first);

    let other = post(&eks, ALL, with(body.clone(), "roleArn", OTHER_ROLE)).await;
    assert_eq!(
        (other.status, other.code()),
        (400, "InvalidRequestException")
    );

    delete(&eks, &path_of(&first)).await;
    let again = created(&eks, body).await;
    assert_ne!(again["associationId"], first["associationId"]);
}

#[tokio::test]
async fn a_client_token_makes_an_update_repeatable() {
    let (eks, clock) = shop().await;
    let path = path_of(&created(&eks, order()).await);
    let body = json!({ "targetRoleArn": TARGET, "clientRequestToken": "t-1" });
    let first = post(&eks, &path, body.clone()).await.json();
    clock.advance(Duration::from_secs(1));
    let again = post(&eks, &path, body.clone()).await.json();
    assert_eq!(again, first, "not even its time is another");

    let other = other_account(&eks).await;
    for (path, body) in [
        (&path, with(body.clone(), "targetRoleArn", "")),
        (&other, body),
    ] {
        let refused = post(&eks, path, body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "InvalidRequestException")
        );
        assert!(refused.message().contains("clientRequestToken"));
    }
    let third = with(order(), "serviceAccount", "third");
    let created = post(&eks, ALL, with(third, "clientRequestToken", "t-1")).await;
    assert_eq!(created.status, 200, "a token belongs to one operation");
}

/// The path of an association of another service account.
async fn other_account(eks: &MockEksAuth) -> String {
    path_of(&created(eks, with(order(), "serviceAccount", "other")).await)
}

#[tokio::test]
async fn eks_auth_grants_the_associations_that_the_api_creates() {
    let (eks, _clock) = shop().await;
    let token = eks.issuer().token("shop", "order").mint(NOW);
    let granted = async || {
        let answer = assume(&eks, &token).await.json();
        let key = answer["credentials"]["accessKeyId"].as_str().unwrap();
        eks.session(key).unwrap()
    };
    let body = with(order(), "targetRoleArn", TARGET);
    let path = path_of(&created(&eks, body).await);
    let chained = granted().await;
    assert_eq!(chained.role_arn, TARGET);
    assert_eq!(chained.expiration, NOW + Duration::from_secs(59 * 60));
    assert_eq!((chained.tags.len(), &chained.policy), (6, &None));

    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let body = json!({ "targetRoleArn": "", "disableSessionTags": true, "policy": policy });
    assert_eq!(post(&eks, &path, body).await.status, 200);
    let plain = granted().await;
    assert_eq!(plain.role_arn, ROLE);
    assert_eq!(plain.expiration, NOW + Duration::from_secs(6 * 3600));
    assert_eq!(
        (plain.tags.len(), plain.policy.as_deref()),
        (0, Some(policy))
    );

    let tagged = post(&eks, &path, json!({ "disableSessionTags": false })).await;
    assert_eq!(
        (tagged.status, tagged.code()),
        (400, "InvalidParameterException"),
        "the policy is still there"
    );
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_a_reason() {
    let (eks, _clock) = shop().await;
    let path = path_of(&created(&eks, order()).await);
    let invalid = "InvalidParameterException";
    let other = || with(order(), "serviceAccount", "other");
    let many: Value = (0..51).map(|i| (format!("k{i}"), json!(""))).collect();
    let policy = "disableSessionTags must be set to true";
    for (path, body, status, code, expected) in [
        (
            ALL,
            json!({ "namespace": "shop" }),
            400,
            invalid,
            "serviceAccount",
        ),
        (ALL, json!([]), 400, "SerializationException", "body"),
        (ALL, with(other(), "policy", "{}"), 400, invalid, policy),
        (ALL, with(other(), "tags", many), 400, invalid, "50 tags"),
        (
            ALL,
            with(other(), "tags", json!({ "aws:x": "" })),
            400,
            invalid,
            "reserved",
        ),
        (&path, json!({ "policy": "{}" }), 400, invalid, policy),
        (&path, json!({}), 400, invalid, "at least one of"),
        (
            &path,
            json!({ "clientRequestToken": "t" }),
            400,
            invalid,
            "at least one of",
        ),
        (&path, json!({ "roleArn": "" }), 400, invalid, "roleArn"),
        (
            &path,
            json!({ "targetRoleArn": "orders" }),
            400,
            invalid,
            "targetRoleArn",
        ),
        (
            &path,
            json!({ "roleArn": TARGET }),
            403,
            "AccessDeniedException",
            "Cross-account pass role",
        ),
        (
            ALL,
            with(other(), "namespace", "Shop"),
            400,
            invalid,
            "namespace",
        ),
        (
            &format!("{ALL}/a-short"),
            json!({}),
            400,
            invalid,
            "should be 19 characters long",
        ),
        (
            "/clusters/prod/pod-identity-associations",
            order(),
            404,
            "ResourceNotFoundException",
            "No cluster found for name: prod.",
        ),
    ] {
        let answer = post(&eks, path, body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{expected}");
        assert!(answer.message().contains(expected), "{}", answer.body);
    }
    let unsigned = http::Request::get(ALL).header("host", "eks.test");
    let mut client = Client::connect(&eks).await.unwrap();
    let answer = client
        .send(unsigned.body(String::new().into()).unwrap())
        .await;
    assert_eq!(answer.unwrap().status, 403);
}

#[tokio::test]
async fn a_list_has_filters_and_pages() {
    let (eks, _clock) = shop().await;
    for index in 0..12 {
        let namespace = if index % 3 == 0 { "shop" } else { "bank" };
        eks.associate(namespace, format!("sa-{index:02}"), ROLE);
    }
    let mut seen = BTreeSet::new();
    let mut pages = 0;
    let mut next = Value::Null;
    loop {
        let token = next.as_str().map(|token| format!("&nextToken={token}"));
        let path = format!("{ALL}?maxResults=5{}", token.unwrap_or_default());
        let page = get(&eks, &path).await.json();
        for association in page["associations"].as_array().unwrap() {
            assert!(seen.insert(association["associationId"].to_string()));
        }
        pages += 1;
        next = page["nextToken"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (13, 3));

    for (query, count) in [
        ("namespace=shop", 5),
        ("namespace=shop&serviceAccount=cart", 1),
        ("serviceAccount=sa-01", 1),
        ("namespace=none", 0),
        ("namespace=bank&maxResults=8", 8),
    ] {
        let page = get(&eks, &format!("{ALL}?{query}")).await.json();
        assert_eq!(
            page["associations"].as_array().unwrap().len(),
            count,
            "{query}"
        );
        assert_eq!(page["nextToken"], Value::Null, "{query}");
    }
    for query in [
        "maxResults=0",
        "maxResults=101",
        "maxResults=x",
        "nextToken=zz",
    ] {
        let answer = get(&eks, &format!("{ALL}?{query}")).await;
        assert_eq!(answer.code(), "InvalidParameterException", "{query}");
    }
}

#[tokio::test]
async fn there_are_at_most_five_thousand_associations() {
    let (eks, _clock) = shop().await;
    for index in 1..5_000 {
        eks.associate("many", format!("sa-{index}"), ROLE);
    }
    let answer = post(&eks, ALL, order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "ResourceLimitExceededException")
    );
}

#[tokio::test]
async fn tags_are_added_overwritten_and_removed() {
    let (eks, _clock) = shop().await;
    let path = tags_of(&created(&eks, with(order(), "tags", json!({ "a": "1" }))).await);
    assert_eq!(
        get(&eks, &path).await.json(),
        json!({ "tags": { "a": "1" } })
    );
    let more = json!({ "tags": { "a": "2", "b c": "3", "d": "4" } });
    assert_eq!(post(&eks, &path, more).await.json(), json!({}));
    let fewer = format!("{path}?tagKeys=a&tagKeys=b%20c");
    assert_eq!(delete(&eks, &fewer).await.json(), json!({}));
    assert_eq!(
        get(&eks, &path).await.json(),
        json!({ "tags": { "d": "4" } })
    );

    let unknown = path.replace("test-cluster", "prod");
    for answer in [get(&eks, &unknown).await, delete(&eks, &unknown).await] {
        assert_eq!((answer.status, answer.code()), (404, "NotFoundException"));
    }
    let none = json!({ "tags": {} });
    for bad in [
        post(&eks, &path, json!({ "tags": { "AWS:x": "" } })).await,
        post(&eks, &path, none.clone()).await,
        delete(&eks, &path).await,
        get(&eks, "/tags/a-1").await,
        post(&eks, "/tags/arn%3Aaws%3Aeks", none).await,
    ] {
        assert_eq!((bad.status, bad.code()), (400, "BadRequestException"));
    }
}

#[tokio::test]
async fn an_association_added_by_the_test_is_described_with_all_its_members() {
    let (eks, _clock) = shop().await;
    let owner = "arn:aws:eks:us-west-2:111122223333:addon/test-cluster/vpc-cni/0";
    let id = eks.add(
        Association::new("kube-system", "aws-node", ROLE)
            .target_role_arn(TARGET)
            .disable_session_tags()
            .policy("{}")
            .tag("team", "net")
            .owner_arn(owner),
    );
    let described = get(&eks, &format!("{ALL}/{id}")).await.json()["association"].clone();
    assert_eq!(described["ownerArn"], owner);
    let listed = get(&eks, &format!("{ALL}?namespace=kube-system"))
        .await
        .json();
    assert_eq!(listed["associations"][0]["ownerArn"], owner);
    assert_eq!(described["disableSessionTags"], true);
    assert_eq!(described["policy"], "{}");
    assert_eq!(described["tags"], json!({ "team": "net" }));

    let path = format!("{ALL}/{id}");
    let emptied = post(&eks, &path, json!({ "policy": "", "targetRoleArn": "" })).await;
    let emptied = emptied.json()["association"].clone();
    assert_eq!(emptied["policy"], Value::Null);
    assert_eq!(emptied["targetRoleArn"], Value::Null);
    assert_eq!(emptied["externalId"], Value::Null);
}

#[tokio::test]
async fn eks_auth_applies_a_change_after_a_delay() {
    let (eks, clock) = shop().await;
    eks.set_visibility(Duration::from_secs(5));
    let token = eks.issuer().token("shop", "order").mint(NOW);
    let association = created(&eks, order()).await;
    let path = path_of(&association);
    assert_eq!(get(&eks, &path).await.status, 200, "the API knows at once");
    assert_eq!(assume(&eks, &token).await.status, 404);
    clock.advance(Duration::from_secs(5));
    assert_eq!(assume(&eks, &token).await.status, 200);

    post(&eks, &path, json!({ "roleArn": OTHER_ROLE })).await;
    delete(&eks, &path).await;
    let old = assume(&eks, &token).await.json()["assumedRoleUser"]["arn"].to_string();
    assert!(old.contains("assumed-role/cart/"), "{old}");
    clock.advance(Duration::from_secs(5));
    assert_eq!(assume(&eks, &token).await.status, 404);
}

#[tokio::test]
async fn eks_auth_applies_a_change_when_a_gate_opens() {
    let (eks, clock) = shop().await;
    let gate = Gate::new();
    eks.set_visibility(gate.clone());
    let token = eks.issuer().token("shop", "order").mint(NOW);
    created(&eks, order()).await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(assume(&eks, &token).await.status, 404);
    gate.release();
    assert_eq!(assume(&eks, &token).await.status, 200);
}

#[tokio::test]
async fn a_change_waits_only_for_earlier_changes_of_its_service_account() {
    let (eks, _clock) = shop().await;
    let gate = Gate::new();
    eks.set_visibility(gate.clone());
    let path = path_of(&created(&eks, order()).await);
    eks.set_visibility(Visibility::AtOnce);
    post(&eks, &path, json!({ "roleArn": OTHER_ROLE })).await;
    created(&eks, with(order(), "serviceAccount", "other")).await;

    let token = |name| eks.issuer().token("shop", name).mint(NOW);
    assert_eq!(assume(&eks, &token("other")).await.status, 200);
    assert_eq!(assume(&eks, &token("order")).await.status, 404);
    gate.release();
    let arn = assume(&eks, &token("order")).await.json()["assumedRoleUser"]["arn"].to_string();
    assert!(arn.contains("assumed-role/orders/"), "{arn}");
}

#[tokio::test]
async fn changes_by_the_test_overtake_pending_ones() {
    let (eks, _clock) = shop().await;
    eks.set_visibility(Gate::new());
    let association = created(&eks, order()).await;
    let token = eks.issuer().token("shop", "order").mint(NOW);
    assert!(eks.dissociate(association["associationId"].as_str().unwrap()));
    assert_eq!(get(&eks, &path_of(&association)).await.status, 404);
    eks.associate("shop", "order", ROLE);
    assert_eq!(assume(&eks, &token).await.status, 200);
}

#[tokio::test]
async fn the_api_shows_its_own_changes_after_a_delay() {
    let (eks, clock) = shop().await;
    eks.set_api_visibility(Duration::from_secs(5));
    let association = created(&eks, order()).await;
    let path = path_of(&association);
    assert_eq!(get(&eks, &path).await.status, 404);
    assert_eq!(
        post(&eks, &path, json!({ "roleArn": OTHER_ROLE }))
            .await
            .status,
        404
    );
    let again = post(&eks, ALL, order()).await;
    assert_eq!(again.code(), "ResourceInUseException");
    clock.advance(Duration::from_secs(5));
    assert_eq!(get(&eks, &path).await.status, 200);

    assert_eq!(delete(&eks, &path).await.status, 200);
    assert_eq!(get(&eks, &path).await.status, 200, "it is still described");
    let listed = get(&eks, &format!("{ALL}?serviceAccount=order"))
        .await
        .json();
    assert_eq!(listed["associations"].as_array().unwrap().len(), 1);
    let again = post(&eks, ALL, order()).await;
    assert_eq!(
        (again.status, again.code()),
        (409, "ResourceInUseException")
    );
    assert_eq!(delete(&eks, &path).await.status, 404);
    clock.advance(Duration::from_secs(5));
    assert_eq!(get(&eks, &path).await.status, 404);
    created(&eks, order()).await;
}

#[tokio::test]
async fn a_list_continues_after_a_name_with_a_slash() {
    let (eks, _clock) = shop().await;
    for name in ["a/b", "a/c", "b"] {
        eks.associate("odd/name", name, ROLE);
    }
    let first = get(&eks, &format!("{ALL}?maxResults=1")).await.json();
    let next = first["nextToken"].as_str().unwrap();
    let rest = get(&eks, &format!("{ALL}?nextToken={next}")).await.json();
    let names = rest["associations"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|it| it["serviceAccount"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a/c", "b", "cart"]);
}
