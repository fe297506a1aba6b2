//! `AssumeRoleForPodIdentity` without faults.

use std::time::Duration;

use pod_identity_core::wire::eks_auth::AssumeRoleResponse;
use pod_identity_testkit::Association;

use crate::common::{Client, NOW, ROLE, assume, shop, token};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_success_has_exactly_the_members_of_the_real_service() {
    let (eks, _clock) = shop().await;
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(answer.header("x-amzn-RequestId").len(), 36);

    let body = answer.json();
    let keys = |pointer: &str| -> Vec<String> {
        body.pointer(pointer)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        keys(""),
        [
            "assumedRoleUser",
            "audience",
            "credentials",
            "podIdentityAssociation",
            "subject"
        ]
    );
    assert_eq!(keys("/subject"), ["namespace", "serviceAccount"]);
    assert_eq!(
        keys("/podIdentityAssociation"),
        ["associationArn", "associationId"]
    );
    assert_eq!(keys("/assumedRoleUser"), ["arn", "assumeRoleId"]);
    assert_eq!(
        keys("/credentials"),
        [
            "accessKeyId",
            "expiration",
            "secretAccessKey",
            "sessionToken"
        ]
    );
    assert_eq!(
        body["credentials"]["expiration"],
        (NOW + 6 * HOUR).as_unix_secs()
    );
}

#[tokio::test]
async fn names_and_keys_have_the_form_of_the_real_service() {
    let (eks, _clock) = shop().await;
    let id = eks.associate("shop", "cart", ROLE);
    let answer: AssumeRoleResponse =
        serde_json::from_str(&assume(&eks, &token(&eks)).await.body).unwrap();

    assert_eq!(answer.subject.namespace, "shop");
    assert_eq!(answer.subject.service_account, "cart");
    assert_eq!(answer.audience, "pods.eks.amazonaws.com");
    let association = answer.pod_identity_association;
    assert_eq!(association.association_id, id);
    assert_eq!(
        association.association_arn,
        format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/test-cluster/{id}")
    );
    let tail = id.strip_prefix("a-").unwrap();
    assert!(
        tail.len() == 17
            && tail
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    );

    let session = answer.assumed_role_user.arn;
    let session = session
        .strip_prefix("arn:aws:sts::111122223333:assumed-role/cart/")
        .unwrap();
    let uuid = session
        .strip_prefix("eks-test-cluster-cart-01234-")
        .unwrap();
    assert_eq!(uuid.len(), 36);
    let (role_id, named) = answer
        .assumed_role_user
        .assume_role_id
        .split_once(':')
        .unwrap();
    assert!(role_id.starts_with("AROA") && role_id.len() == 21 && named == session);

    let key = answer.credentials.access_key_id;
    let tail = key.strip_prefix("ASIA").unwrap();
    assert!(
        tail.len() == 16
            && tail
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    );
    assert_eq!(answer.credentials.secret_access_key.expose().len(), 40);
    assert_eq!(eks.minted(), [key]);
}

#[tokio::test]
async fn the_lifetime_of_credentials_is_that_of_their_association() {
    let (eks, _clock) = shop().await;
    let chained = Association::new("shop", "cart", ROLE)
        .target_role_arn("arn:aws-us-gov:iam::444455556666:role/orders");
    for (association, lifetime, role) in [
        (
            Association::new("shop", "cart", ROLE),
            6 * HOUR,
            "arn:aws:sts::111122223333:assumed-role/cart/",
        ),
        (
            chained.clone(),
            Duration::from_secs(59 * 60),
            "arn:aws-us-gov:sts::444455556666:assumed-role/orders/",
        ),
        (
            chained.lifetime(HOUR / 4),
            HOUR / 4,
            "arn:aws-us-gov:sts::444455556666:assumed-role/orders/",
        ),
    ] {
        eks.add(association);
        let body = assume(&eks, &token(&eks)).await.body;
        let answer: AssumeRoleResponse = serde_json::from_str(&body).unwrap();
        assert_eq!(answer.credentials.expiration, NOW + lifetime);
        assert!(
            answer.assumed_role_user.arn.starts_with(role),
            "{}",
            answer.assumed_role_user.arn
        );
    }
}

#[tokio::test]
async fn each_exchange_has_keys_of_its_own() {
    let (eks, _clock) = shop().await;
    let mut client = Client::connect(&eks).await.unwrap();
    for _ in 0..50 {
        assert_eq!(client.assume(&eks, &token(&eks)).await.unwrap().status, 200);
    }
    let mut keys = eks.minted();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 50);
    assert_eq!(eks.connection_count(), 1);
}

#[tokio::test]
async fn the_clock_of_the_mock_decides_what_has_expired() {
    let (eks, clock) = shop().await;
    let token = eks.issuer().token("shop", "cart").lifetime(HOUR).mint(NOW);
    clock.set(NOW + HOUR - Duration::from_millis(1));
    assert_eq!(assume(&eks, &token).await.status, 200);
    clock.advance(Duration::from_millis(1));
    assert_eq!(assume(&eks, &token).await.code(), "ExpiredTokenException");
}

#[tokio::test]
async fn a_dissociated_service_account_gets_nothing() {
    let (eks, _clock) = shop().await;
    let id = eks.associate("shop", "cart", ROLE);
    assert_eq!(assume(&eks, &token(&eks)).await.status, 200);
    assert!(eks.dissociate(&id));
    assert!(!eks.dissociate(&id));
    let answer = assume(&eks, &token(&eks)).await;
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (404, crate::refusals::NO_ASSOCIATION)
    );
}

#[tokio::test]
async fn a_token_of_an_older_kubernetes_is_accepted() {
    let (eks, _clock) = shop().await;
    let token = eks.issuer().token("shop", "cart").before_1_30().mint(NOW);
    assert_eq!(assume(&eks, &token).await.status, 200);
}
