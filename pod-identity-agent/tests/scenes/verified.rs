//! What changes when the agent verifies tokens with the keys of the cluster.

use http::Response;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, SigningKey, TokenBuilder};
use tokio::time::sleep;

use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, MINUTE, NOW, SECOND, pod};

const VERIFYING: Settings = Settings {
    is_verifying: true,
    ..Settings::PATIENT
};

async fn scene() -> Scene {
    let scene = Scene::with(VERIFYING).await;
    scene.has_keys(1).await;
    scene
}

#[tokio::test]
async fn a_new_token_of_a_known_pod_is_answered_without_an_exchange() {
    let scene = scene().await;
    let first = scene.token();
    let key = scene.get(&first).await.key();
    scene.eks.inject_always(outage_that_nobody_notices());
    for _ in 0..5 {
        let next = scene.token();
        assert_eq!(scene.get(&next).await.key(), key);
        assert_eq!(scene.get(&next).await.key(), key, "again");
        assert_eq!(scene.exchanges(&next), 0);
    }
    assert_eq!(scene.get(&first).await.key(), key);
    assert_eq!(
        scene.exchanges(&first),
        1,
        "the first token of a pod goes to EKS Auth"
    );
    let page = scene.exposition().await;
    assert!(
        page.contains("pod_identity_local_validation{result=\"success\"} 6\n"),
        "{page}"
    );
    assert!(
        page.contains("pod_identity_verification_mode{mode=\"issuer\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("pod_identity_cached_credentials 1\n"),
        "{page}"
    );
}

#[tokio::test]
async fn what_a_pod_holds_is_for_no_other_pod_nor_service_account() {
    let scene = scene().await;
    let key = scene.get(&scene.token()).await.key();
    let uid = "0f8e6c1e-1111-4222-8333-944445555666";
    let kubernetes = |pod: (&str, &str), account: (&str, &str)| {
        serde_json::json!({
            "namespace": "shop",
            "pod": { "name": pod.0, "uid": pod.1 },
            "serviceaccount": { "name": account.0, "uid": account.1 },
        })
    };
    for other in [
        scene.builder().pod("cart-1"),
        scene
            .builder()
            .claim("kubernetes.io", kubernetes(("cart-0", uid), ("cart", uid))),
        scene.builder().claim(
            "kubernetes.io",
            kubernetes(("cart-0", "u-1"), ("cart", uid)),
        ),
        scene.builder().claim(
            "kubernetes.io",
            kubernetes(("cart-0", uid), ("cart", "u-1")),
        ),
    ] {
        let token = other.mint(scene.now());
        assert_ne!(scene.get(&token).await.key(), key);
        assert_eq!(scene.exchanges(&token), 1);
    }
    let elsewhere = scene.eks.issuer().token("bank", "cart").mint(scene.now());
    assert_eq!(scene.get(&elsewhere).await.status, 404, "no association");
}

#[tokio::test]
async fn a_token_with_a_wrong_signature_is_refused_at_once_and_costs_eks_auth_nothing() {
    let scene = scene().await;
    let forged = |scene: &Scene| scene.builder().forged().mint(scene.now());
    scene.get(&scene.token()).await.key();
    let count = scene.eks.request_count();
    let first = forged(&scene);
    for _ in 0..20 {
        let answer = scene.get_as(pod(0), &first).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer
                .body
                .contains("its signature is not that of this cluster's key"),
            "{}",
            answer.body
        );
    }
    let mut refused = 1;
    let denied = loop {
        let answer = scene.get_as(pod(0), &forged(&scene)).await;
        if answer.status != 400 {
            break answer;
        }
        refused += 1;
    };
    assert_eq!(refused, 10, "the same token again costs no verification");
    assert_eq!(
        (denied.status, denied.header("retry-after")),
        (503, Some("1"))
    );
    assert!(denied.body.contains("--pod-budget"), "{}", denied.body);
    // Other pods are not affected.
    scene.get_as(pod(7), &scene.token()).await.key();
    scene
        .get_as(pod(8), &scene.builder().pod("cart-8").mint(scene.now()))
        .await
        .key();
    assert_eq!(scene.eks.request_count(), count + 1, "for the new pod");
    let page = scene.exposition().await;
    assert!(
        page.contains("pod_identity_local_validation{result=\"failure\"} 10\n"),
        "{page}"
    );
    assert!(
        page.contains("pod_identity_refusals{reason=\"Signature\"} 29\n"),
        "{page}"
    );
}

#[tokio::test]
async fn every_token_is_judged_by_its_own_times() {
    let scene = scene().await;
    let [early, late] = [HOUR, 5 * HOUR].map(|life| scene.builder().lifetime(life).mint(NOW));
    let key = scene.get(&early).await.key();
    assert_eq!(scene.get(&late).await.key(), key);
    scene.clock.advance(HOUR);
    let answer = scene.get(&early).await;
    assert_eq!(
        answer.status, 400,
        "expired, though its pod has credentials"
    );
    assert_eq!(scene.get(&late).await.key(), key);
}

#[tokio::test]
async fn a_refresh_uses_the_newest_token_of_the_pod() {
    let scene = scene().await;
    let old = scene.builder().lifetime(2 * HOUR).mint(NOW);
    let key = scene.get(&old).await.key();
    scene.clock.advance(HOUR);
    let new = scene.token();
    assert_eq!(scene.get(&new).await.key(), key);
    assert_eq!(
        scene.get(&old).await.key(),
        key,
        "kept by containers that have not read the new one"
    );
    scene.clock.advance(2 * HOUR);
    scene.until(&new, |answer| answer.key() != key).await;
    assert_eq!((scene.exchanges(&old), scene.exchanges(&new)), (1, 1));
}

#[tokio::test]
async fn without_keys_each_token_is_exchanged_as_before() {
    let scene = Scene::here(Settings::PATIENT, |agent| agent).await;
    let first = scene.token();
    scene.get(&first).await.key();
    let page = scene.exposition().await;
    assert!(
        page.contains("pod_identity_verification_mode{mode=\"off\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("pod_identity_local_validation{result=\"skipped\"} 1\n"),
        "{page}"
    );
    let next = scene.token();
    scene.get(&next).await.key();
    assert_eq!(
        scene.exchanges(&next),
        1,
        "without keys each token is exchanged"
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_token_that_was_not_verified_are_the_pods_once_the_keys_are_known() {
    let scene = Scene::flowing_where(VERIFYING, |eks| eks.set_issuer_outage(true)).await;
    let first = scene.token();
    let key = scene.get(&first).await.key();
    scene.eks.set_issuer_outage(false);
    // Within the longest pause between two attempts to fetch the keys.
    sleep(5 * MINUTE).await;
    scene.eks.inject_always(outage_that_nobody_notices());
    let next = scene.token();
    assert_eq!(scene.get(&next).await.key(), key);
    assert_eq!(scene.get(&first).await.key(), key);
    assert_eq!(scene.exchanges(&next), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_another_service_account_are_dropped_once_the_keys_show_whose_the_token_is()
{
    let scene = Scene::flowing_where(VERIFYING, |eks| eks.set_issuer_outage(true)).await;
    scene.eks.inject(Fault::respond(|_| {
        let session =
            SESSION_OF_ANOTHER.replace("EXPIRATION", &(NOW + 6 * HOUR).as_unix_secs().to_string());
        Response::new(session)
    }));
    let first = scene.token();
    assert_eq!(
        scene.get(&first).await.key(),
        "ASIAOFANOTHER",
        "nobody knows"
    );
    scene.eks.set_issuer_outage(false);
    sleep(5 * MINUTE).await;
    let next = scene.token();
    let key = scene.get(&next).await.key();
    assert_ne!(key, "ASIAOFANOTHER");
    assert_eq!(scene.exchanges(&next), 1);
    assert_eq!(scene.get(&first).await.key(), key);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_new_key_is_answered_in_an_outage_as_soon_as_the_key_is_fetched() {
    let scene = Scene::flowing(VERIFYING).await;
    sleep(SECOND).await;
    let first = scene.token();
    let key = scene.get(&first).await.key();
    sleep(MINUTE).await;
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    scene.eks.issuer().sign_with(SigningKey::Es256);
    let next = scene.token();
    assert_eq!(scene.get(&next).await.key(), key);
    assert_eq!(
        scene.get(&first).await.key(),
        key,
        "the old key is known still"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_eks_auth_with_a_rotation_in_it_is_noticed_by_no_pod() {
    const PODS: usize = 8;
    let scene = Scene::flowing(VERIFYING).await;
    sleep(SECOND).await;
    let builder = |number: usize| -> TokenBuilder { scene.builder().pod(format!("cart-{number}")) };
    let mut tokens: Vec<String> = (0..PODS).map(|number| builder(number).mint(NOW)).collect();
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
    }
    // Credentials live for six hours, and an outage that lasts for longer than they do cannot be bridged.
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    for minute in 0..=358 {
        for (number, token) in tokens.iter_mut().enumerate() {
            // kubelet renews each at a time of its own.
            if minute == 170 + number {
                *token = builder(number).mint(scene.now());
            }
            let answer = scene.get_as(pod(number), token).await;
            assert_eq!(answer.status, 200, "{}, minute {minute}", answer.body);
        }
        sleep(MINUTE).await;
    }
    scene.eks.clear_faults();
    sleep(2 * MINUTE).await;
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
        assert!(scene.exchanges(token) >= 1, "refreshed with the new token");
    }
}

/// The same in steps of ten minutes, also on the program, whose clock can be set.
#[tokio::test]
async fn a_rotation_in_an_outage_of_almost_six_hours_is_noticed_by_no_pod() {
    const PODS: usize = 8;
    let scene = scene().await;
    let builder = |number: usize| scene.builder().pod(format!("cart-{number}"));
    let mut tokens: Vec<String> = (0..PODS).map(|number| builder(number).mint(NOW)).collect();
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
    }
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    let mut passed = 0;
    for minute in (0..=350).step_by(10).chain([358]) {
        scene.clock.advance((minute - passed) * MINUTE);
        passed = minute;
        for (number, token) in tokens.iter_mut().enumerate() {
            // kubelet renews each at a time of its own.
            if usize::try_from(minute) == Ok(150 + 10 * number) {
                *token = builder(number).mint(scene.now());
            }
            let answer = scene.get_as(pod(number), token).await;
            assert_eq!(answer.status, 200, "{}, minute {minute}", answer.body);
        }
        // An attempt to refresh has failed.
        scene.catch_up().await;
    }
    scene.eks.clear_faults();
    scene.clock.advance(10 * MINUTE);
    for (number, token) in tokens.iter().enumerate() {
        scene.get_as(pod(number), token).await.key();
        assert!(scene.exchanges(token) >= 1, "refreshed with the new token");
    }
}

/// What EKS Auth would answer for a pod of `shop/till`.
const SESSION_OF_ANOTHER: &str = r#"{"subject":{"namespace":"shop","serviceAccount":"till"},
    "audience":"pods.eks.amazonaws.com",
    "podIdentityAssociation":{"associationArn":"arn:a","associationId":"a-1"},
    "assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/till/s","assumeRoleId":"AROA:s"},
    "credentials":{"accessKeyId":"ASIAOFANOTHER","secretAccessKey":"secret","sessionToken":"token",
    "expiration":EXPIRATION}}"#;

/// No request may meet it: whoever asked EKS Auth would be refused.
fn outage_that_nobody_notices() -> Fault {
    Fault::from(ErrorCode::ServiceUnavailable).optional()
}
