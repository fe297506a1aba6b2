//! What changes when the agent verifies tokens with the keys of the cluster.

use http::Response;
use pod_identity_agent::Budget;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, Issuer, Operation, SigningKey, TokenBuilder};
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
    let count = all_exchanges(&scene);
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
    assert_eq!(all_exchanges(&scene), count + 1, "for the new pod");
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

/// A scene in which all pods are of the host network, and share the address of the node.
async fn scene_of_the_host_network(node_budget: Budget) -> Scene {
    let everywhere = "127.0.0.0/8".parse().unwrap();
    let scene = Scene::here(VERIFYING, |agent| {
        agent.node_addresses([everywhere]).node_budget(node_budget)
    })
    .await;
    scene.has_keys(1).await;
    scene
}

#[tokio::test]
async fn forged_tokens_of_one_pod_of_the_host_network_do_not_keep_the_others_from_being_verified() {
    let scene = scene_of_the_host_network(Budget::new(20, 2.0)).await;
    let evil = || scene.builder().pod("evil-0").forged().mint(scene.now());
    let mut statuses = [0; 2];
    for _ in 0..30 {
        match scene.get(&evil()).await.status {
            400 => statuses[0] += 1,
            503 => statuses[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(statuses, [10, 20], "the budget of a pod");
    for number in 0..3 {
        let of_pod = || scene.builder().pod(format!("cart-{number}"));
        let [first, next] = [of_pod(), of_pod()].map(|pod| pod.mint(scene.now()));
        let key = scene.get(&first).await.key();
        assert_eq!(scene.get(&next).await.key(), key);
        assert_eq!(scene.exchanges(&next), 0, "it was verified");
    }
    assert_eq!(all_exchanges(&scene), 3, "the forged ones cost none");
}

#[tokio::test]
async fn forged_tokens_of_invented_pods_leave_new_tokens_of_known_pods_verified_and_new_pods_served()
 {
    let scene = scene_of_the_host_network(Budget::new(20, 2.0)).await;
    let known = || scene.builder().pod("cart-0").mint(scene.now());
    let key = scene.get(&known()).await.key();
    let (mut token, mut bodies) = (String::new(), Vec::new());
    for number in 0..25 {
        let invented = scene.builder().pod(format!("evil-{number}")).forged();
        token = invented.mint(scene.now());
        let answer = scene.get(&token).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        bodies.push(answer.body);
    }
    let beyond = 1 + 5;
    assert_eq!(
        all_exchanges(&scene),
        beyond,
        "beyond the budget EKS Auth judges"
    );
    assert_ne!(bodies[0], bodies[24]);
    let page = scene.exposition().await;
    assert!(
        page.contains("pod_identity_local_validation{result=\"skipped\"} 5\n"),
        "{page}"
    );
    let again = scene.get(&token).await;
    assert_eq!(
        (again.status, again.body),
        (400, bodies.swap_remove(0)),
        "known to be forged"
    );
    assert_eq!(scene.get(&known()).await.key(), key);
    assert_eq!(all_exchanges(&scene), beyond, "it was verified");
    let other = scene.builder().pod("cart-1").mint(scene.now());
    scene.get(&other).await.key();
    assert_eq!(scene.exchanges(&other), 1);
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
async fn a_new_key_that_its_source_serves_late_is_fetched_half_a_minute_later() {
    let scene = Scene::flowing(VERIFYING).await;
    sleep(SECOND).await;
    let key = scene.get(&scene.token()).await.key();
    sleep(MINUTE).await;
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    scene.eks.inject(served_keys(scene.eks.issuer().jwks()));
    scene.eks.issuer().sign_with(SigningKey::Es256);
    let next = scene.token();
    // The first fetch brings the old keys.
    let _first_answer = scene.get(&next).await;
    sleep(35 * SECOND).await;
    assert_eq!(scene.get(&next).await.key(), key);
}

#[tokio::test(start_paused = true)]
async fn another_key_under_a_name_that_is_known_is_fetched_after_the_first_wrong_signature() {
    let scene = Scene::flowing_where(VERIFYING, |eks| {
        let other = Issuer::new();
        other.sign_with(SigningKey::OtherRs256);
        other.forget_old_keys();
        let keys = other.jwks();
        let keys = keys.replace(SigningKey::OtherRs256.id(), Issuer::KEY_ID);
        eks.inject(served_keys(keys));
    })
    .await;
    sleep(SECOND).await;
    let token = scene.token();
    assert_eq!(scene.get(&token).await.status, 400);
    sleep(30 * SECOND).await;
    scene.get(&token).await.key();
}

/// What the issuer answers when it is asked for its keys the next time.
fn served_keys(keys: String) -> Fault {
    Fault::respond(move |_| Response::new(keys.clone())).on(Operation::JsonWebKeySet)
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

/// How many there were, of any token. On a slow machine the keys are fetched meanwhile, too.
fn all_exchanges(scene: &Scene) -> usize {
    let requests = scene.eks.requests();
    requests.iter().filter(|seen| seen.token.is_some()).count()
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
