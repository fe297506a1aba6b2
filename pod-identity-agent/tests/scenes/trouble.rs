//! What pods see while EKS Auth fails, and after its recovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Response;
use pod_identity_agent::{Agent, EksAuth, Exchange, Session};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Credentials, RefreshPolicy, Secret};
use pod_identity_testkit::{Association, Fault, Gate, Issuer, ServiceError, SettableClock, Stage};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::client::{self, Request};
use crate::support::scene::{Scene, listener};
use crate::support::settings::Settings;
use crate::support::{HOUR, NOW, ROLE, SECOND, soon};

#[tokio::test]
async fn credentials_about_to_expire_are_not_served() {
    let scene = Scene::start().await;
    for (lifetime, left) in [(10, "10.00"), (15, "15.00"), (0, "0.00")] {
        scene
            .eks
            .inject(Fault::expires_in(Duration::from_secs(lifetime)));
        scene.get(&scene.token()).await.assert_text(
            500,
            &format!(
                "fetched credentials are expired or will expire within the next {left} seconds\n"
            ),
        );
    }
}

#[tokio::test]
async fn an_incomplete_success_is_answered_with_its_defect_and_the_agent_continues() {
    let scene = Scene::start().await;
    let token = scene.token();
    // For a missing structure, the official client returns one with empty members.
    for (left_out, named) in [
        ("credentials", "credentials.expiration"),
        ("credentials.expiration", "credentials.expiration"),
        ("credentials.accessKeyId", "credentials.accessKeyId"),
        ("credentials.secretAccessKey", "credentials.secretAccessKey"),
        ("credentials.sessionToken", "credentials.sessionToken"),
        (
            "podIdentityAssociation",
            "podIdentityAssociation.associationId",
        ),
        ("assumedRoleUser", "assumedRoleUser.arn"),
        ("subject", "subject.namespace"),
        ("subject.serviceAccount", "subject.serviceAccount"),
    ] {
        scene.eks.inject(Fault::without(left_out));
        scene.get(&token).await.assert_text(
            500,
            &format!("error getting credentials to cache: invalid response from server: {named} is missing\n"),
        );
        scene.clock.advance(SECOND);
    }
    for body in ["", "<html>", "[]", r#"{"credentials":7}"#] {
        scene.eks.inject(Fault::body(body.to_owned()));
        let answer = scene.get(&token).await;
        assert_eq!(answer.status, 500, "{body}");
        assert!(
            answer
                .body
                .starts_with("error getting credentials to cache: invalid response from server: "),
            "{}",
            answer.body
        );
        scene.clock.advance(SECOND);
    }
    assert_eq!(scene.get(&token).await.status, 200);
}

#[tokio::test]
async fn a_transient_failure_is_answered_503_until_the_service_recovers() {
    for fault in [
        Fault::from(ErrorCode::Throttling),
        Fault::from(ErrorCode::InternalServer),
        Fault::from(ErrorCode::ServiceUnavailable),
        Fault::text(502, "<html>bad gateway</html>"),
        Fault::respond(|_| throttled_with_400()),
        Fault::reset(Stage::BeforeHeaders),
        Fault::stall(Stage::BeforeHeaders),
    ] {
        let name = format!("{fault:?}");
        let scene = Scene::impatient().await;
        let token = scene.token();
        scene.eks.inject_always(fault);
        scene.get(&token).await.assert_try_again();
        scene.eks.clear_faults();
        scene.clock.advance(SECOND);
        scene.obtain(&token).await;
        assert_eq!(scene.eks.minted().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn clients_of_a_hanging_service_are_answered_before_the_attempt_ends() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    scene.eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    for mut client in scene.crowd(50, &token).await {
        let answer = client.answer().await;
        answer.assert_try_again();
        assert_eq!(
            answer.body,
            "EKS Auth has not answered in time; try again\n"
        );
    }
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_hanging_service_are_answered_within_900_ms_by_default() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    let token = scene.token();
    scene.eks.inject_always(Fault::stall(Stage::BeforeHeaders));
    let began = Instant::now();
    for mut client in scene.crowd(50, &token).await {
        client.answer().await.assert_try_again();
    }
    let took = began.elapsed().as_millis();
    assert!((900..=910).contains(&took), "{took} ms");
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn attempts_continue_after_a_client_was_answered_503() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    scene.eks.inject(ErrorCode::ServiceUnavailable);
    scene.get(&token).await.assert_try_again();
    scene.clock.advance(20 * SECOND);
    // A request of another pod makes the agent read the clock.
    scene.obtain(&scene.token()).await;
    soon(scene.eks.wait_for_answers(3)).await;
    assert_eq!(scene.exchanges(&token), 2);
    scene.obtain(&token).await;
    assert_eq!(scene.exchanges(&token), 2, "it was at hand");
}

#[tokio::test]
async fn attempts_end_when_no_client_returns_for_30_seconds() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    scene.eks.inject(ErrorCode::ServiceUnavailable);
    scene.get(&token).await.assert_try_again();
    scene.clock.advance(31 * SECOND);
    scene.obtain(&scene.token()).await;
    scene.catch_up().await;
    soon(scene.eks.wait_until_idle()).await;
    assert_eq!(scene.exchanges(&token), 1);
    scene.obtain(&token).await;
}

#[tokio::test]
async fn a_panic_in_eks_auth_is_a_failed_attempt() {
    let clock = Arc::new(SettableClock::at(NOW));
    let (listen, address) = listener("127.0.0.1:0".parse().unwrap());
    let agent = Settings::IMPATIENT
        .apply_to(Agent::builder(PanicsOnce::default()))
        .clock(clock.clone())
        .listen(listen)
        .build();
    let mut running = JoinSet::new();
    running.spawn(agent.run(std::future::pending()));
    let token = Issuer::new().token("shop", "cart").mint(NOW);
    let answer = client::ask(address, Request::with_token(&token)).await;
    answer.assert_try_again();
    clock.advance(SECOND);
    assert_eq!(client::insist(address, &token).await.key(), "ASIASECOND");
}

/// A defective EKS Auth, which only an agent in this process can use.
#[derive(Debug, Default)]
struct PanicsOnce(AtomicBool);

impl EksAuth for PanicsOnce {
    fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
        Box::pin(async {
            assert!(self.0.swap(true, Ordering::SeqCst), "a panic on purpose");
            let secret = || Secret::from("…".to_owned());
            let credentials = Credentials::new("ASIASECOND", secret(), secret(), NOW + 6 * HOUR);
            Ok(Session::new(credentials, "shop", "cart"))
        })
    }
}

#[tokio::test]
async fn a_503_response_names_the_last_failure() {
    let scene = Scene::impatient().await;
    scene.eks.inject_always(ErrorCode::ServiceUnavailable);
    let answer = scene.get(&scene.token()).await;
    assert!(
        answer.body.ends_with(
            "(ServiceUnavailableException): The service is unavailable. \
             Back off and retry the operation., fault: server; try again\n"
        ),
        "{}",
        answer.body
    );
    scene.eks.stop().await;
    scene.clock.advance(SECOND);
    let answer = scene.get(&scene.token()).await;
    assert!(
        answer.body.starts_with("EKS Auth could not be asked: "),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_service_that_was_unreachable_is_used_once_it_is_back() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    scene.eks.stop().await;
    scene.get(&token).await.assert_try_again();
    scene.eks.restart().await.unwrap();
    scene.clock.advance(SECOND);
    scene.obtain(&token).await;
    assert_eq!(scene.eks.request_count(), 1);
}

#[tokio::test]
async fn a_hanging_attempt_times_out_and_is_logged() {
    let policy = RefreshPolicy::agent().with_attempt_timeout(Duration::from_millis(50));
    // No flag sets the timeout of an attempt.
    let scene = Scene::here(Settings::IMPATIENT, |agent| agent.policy(policy)).await;
    let token = scene.token();
    scene.eks.inject(Fault::stall(Stage::BeforeHeaders));
    let answer = scene.get(&token).await;
    answer.assert_try_again();
    assert_eq!(
        answer.body,
        "EKS Auth could not be asked: no answer within 50 ms; try again\n"
    );
    scene.clock.advance(SECOND);
    scene.obtain(&token).await;
    assert_eq!(scene.eks.request_count(), 2);
    let log = scene.end().await;
    assert_eq!(log.lines("EKS Auth does not give credentials now").len(), 1);
    assert_eq!(log.lines("EKS Auth answers again").len(), 1);
}

#[tokio::test]
async fn a_retry_after_of_the_service_is_honoured() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    let wish = ServiceError::new(ErrorCode::Throttling).retry_after(10 * SECOND);
    scene.eks.inject(wish);
    scene.get(&token).await.assert_try_again();
    scene.clock.advance(9 * SECOND);
    scene.get(&token).await.assert_try_again();
    assert_eq!(scene.eks.request_count(), 1);
    scene.clock.advance(SECOND);
    scene.obtain(&token).await;
    assert_eq!(scene.eks.request_count(), 2);
}

#[tokio::test]
async fn a_client_gets_the_retry_after_of_the_service() {
    for (wish, told) in [
        (None, ["1", "1"]),
        (Some(Duration::from_millis(300)), ["1", "1"]),
        (Some(Duration::from_millis(7200)), ["8", "6"]),
        (Some(Duration::from_secs(600)), ["60", "58"]),
    ] {
        let scene = Scene::impatient().await;
        let throttling = ServiceError::new(ErrorCode::Throttling);
        scene.eks.inject(match wish {
            Some(wish) => throttling.retry_after(wish),
            None => throttling,
        });
        // For a second attempt, where the wish is short enough for one.
        scene
            .eks
            .inject_always(Fault::stall(Stage::BeforeHeaders).optional());
        let token = scene.token();
        for told in told {
            let answer = scene.get(&token).await;
            answer.assert_try_again();
            assert_eq!(answer.header("retry-after"), Some(told), "{wish:?}");
            scene.clock.advance(2 * SECOND);
        }
    }
}

#[tokio::test]
async fn a_client_gets_a_retry_after_until_the_next_attempt_for_its_token() {
    let scene = Scene::impatient().await;
    let unavailable = ServiceError::new(ErrorCode::ServiceUnavailable);
    scene
        .eks
        .inject(unavailable.retry_after(Duration::from_millis(7200)));
    let token = scene.token();
    for told in ["8", "6"] {
        let answer = scene.get(&token).await;
        answer.assert_try_again();
        assert_eq!(answer.header("retry-after"), Some(told));
        scene.clock.advance(2 * SECOND);
    }
    assert_eq!(scene.exchanges(&token), 1);
}

#[tokio::test]
async fn held_credentials_are_served_during_an_outage_until_15_seconds_before_they_expire() {
    let scene = Scene::impatient().await;
    let token = scene.token();
    let key = scene.obtain(&token).await;
    scene.eks.stop().await;
    for passed in [3 * HOUR, 5 * HOUR, 6 * HOUR - 16 * SECOND] {
        scene.clock.set(NOW + passed);
        assert_eq!(scene.get(&token).await.key(), key, "{passed:?}");
    }
    scene.clock.advance(SECOND);
    scene.get(&token).await.assert_try_again();
}

#[tokio::test]
async fn a_request_starts_a_due_refresh_and_does_not_wait_for_it() {
    let scene = Scene::start().await;
    let token = scene.token();
    let old = scene.obtain(&token).await;
    scene.clock.advance(3 * HOUR);
    let gate = scene.eks.gate();
    assert_eq!(scene.get(&token).await.key(), old);
    soon(gate.wait_for(1)).await;
    assert_eq!(scene.get(&token).await.key(), old);
    gate.release();
    let new = scene.until(&token, |answer| answer.key() != old).await;
    assert_eq!(new.json()["Expiration"], "2026-03-01T21:00:00Z");
    assert_eq!(scene.eks.request_count(), 2);
}

#[tokio::test]
async fn credentials_of_59_minutes_are_refreshed_at_half_their_life() {
    let scene = Scene::start().await;
    let target = "arn:aws:iam::444455556666:role/orders";
    scene
        .eks
        .add(Association::new("shop", "cart", ROLE).target_role_arn(target));
    let token = scene.token();
    let old = scene.obtain(&token).await;
    scene.clock.advance(Duration::from_secs(30 * 60));
    let new = scene.until(&token, |answer| answer.key() != old).await;
    assert_eq!(new.json()["AccountId"], "444455556666");
}

#[tokio::test]
async fn a_refused_refresh_keeps_the_held_credentials() {
    for code in [ErrorCode::AccessDenied, ErrorCode::ExpiredToken] {
        let scene = Scene::start().await;
        let token = scene.token();
        let key = scene.obtain(&token).await;
        scene.eks.inject_always(code);
        scene.clock.advance(3 * HOUR);
        scene.get(&token).await;
        soon(scene.eks.wait_for_answers(2)).await;
        scene.catch_up().await;
        assert_eq!(scene.get(&token).await.key(), key, "{code:?}");
        assert_eq!(scene.eks.request_count(), 2, "{code:?}");
    }
}

#[tokio::test]
async fn a_refresh_with_an_unusable_result_keeps_the_held_credentials() {
    for fault in [
        Fault::without("podIdentityAssociation"),
        Fault::without("credentials.expiration"),
        Fault::expires_in(10 * SECOND),
        Fault::body("<html>"),
    ] {
        let name = format!("{fault:?}");
        let scene = Scene::start().await;
        let token = scene.token();
        let key = scene.obtain(&token).await;
        scene.eks.inject(fault);
        scene.clock.advance(3 * HOUR);
        scene.get(&token).await;
        soon(scene.eks.wait_for_answers(2)).await;
        scene.catch_up().await;
        assert_eq!(scene.get(&token).await.key(), key, "{name}");
        scene.clock.advance(30 * SECOND);
        scene.until(&token, |answer| answer.key() != key).await;
    }
}

#[tokio::test]
async fn credentials_are_dropped_when_a_refresh_finds_their_association_or_token_gone() {
    for (code, status) in [
        (ErrorCode::ResourceNotFound, 404),
        (ErrorCode::InvalidToken, 400),
    ] {
        let scene = Scene::start().await;
        let token = scene.token();
        scene.obtain(&token).await;
        scene.eks.inject_always(code);
        scene.clock.advance(3 * HOUR);
        let answer = scene.until(&token, |answer| answer.status != 200).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(code.name()), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_unused_expired_token_causes_no_exchange() {
    let scene = Scene::start().await;
    let token = scene.builder().lifetime(HOUR).mint(scene.now());
    scene.obtain(&token).await;
    for _ in 0..5 {
        scene.clock.advance(HOUR);
        // A request of another pod makes the agent read the clock.
        scene.obtain(&scene.token()).await;
    }
    scene.catch_up().await;
    soon(scene.eks.wait_until_idle()).await;
    assert_eq!(scene.exchanges(&token), 1);
}

#[tokio::test]
async fn a_pod_does_not_wait_for_the_exchange_of_another() {
    let scene = Scene::start().await;
    let gate = Gate::new();
    scene.eks.inject(Fault::hold(Stage::BeforeHeaders, &gate));
    let mut held_up = scene.crowd(1, &scene.token()).await;
    soon(gate.wait_for(1)).await;
    scene.obtain(&scene.token()).await;
    assert_eq!(gate.waiting(), 1);
    gate.release();
    held_up.remove(0).answer().await.key();
}

#[tokio::test]
async fn an_outage_is_logged_once_and_its_end_once() {
    let scene = Scene::impatient().await;
    scene.eks.stop().await;
    let tokens = [scene.token(), scene.token()];
    for token in &tokens {
        scene.get(token).await.assert_try_again();
        scene.clock.advance(SECOND);
        scene.get(token).await.assert_try_again();
    }
    scene.eks.restart().await.unwrap();
    scene.clock.advance(10 * SECOND);
    for token in &tokens {
        scene.obtain(token).await;
    }
    let log = scene.end().await;
    let said = log.lines("EKS Auth does not give credentials now");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["level"], "warning");
    let cause = said[0]["error"].as_str().unwrap();
    assert!(cause.contains("refused"), "{cause}");
    assert_eq!(log.lines("EKS Auth answers again").len(), 1);
}

#[tokio::test]
async fn an_unknown_cluster_is_logged_once() {
    let scene = Scene::start().await;
    for _ in 0..3 {
        let unknown = ServiceError::new(ErrorCode::ResourceNotFound)
            .message("No cluster found for name: typo.");
        scene.eks.inject(unknown);
        let answer = scene.get(&scene.token()).await;
        assert_eq!(answer.status, 404);
    }
    scene.obtain(&scene.token()).await;
    let log = scene.end().await;
    let said = log.lines("EKS Auth does not know this cluster");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("--cluster-name")
    );
    assert!(log.lines("credentials refused").is_empty());
    assert_eq!(log.lines("EKS Auth answers again").len(), 1);
}

#[tokio::test]
async fn a_pod_without_an_association_is_logged_by_name() {
    let scene = Scene::start().await;
    let stranger = scene.eks.issuer().token("shop", "stranger");
    scene.get(&stranger.mint(scene.now())).await;
    let said = scene.end().await.lines("credentials refused");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["claimed-namespace"], "shop");
    assert_eq!(said[0]["claimed-service-account"], "stranger");
    assert_eq!(said[0]["claimed-pod"], "stranger-0");
}

#[tokio::test]
async fn a_claim_that_is_not_a_valid_name_does_not_reach_the_log() {
    let scene = Scene::start().await;
    let claims = scene.eks.issuer().token("shop", "cart\ninvented: line");
    scene
        .get(&claims.pod("<b>").forged().mint(scene.now()))
        .await;
    let said = scene.end().await.lines("credentials refused");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["claimed-namespace"], "shop");
    assert!(said[0].get("claimed-service-account").is_none());
    assert!(said[0].get("claimed-pod").is_none());
}

/// A throttle as another service might phrase it.
fn throttled_with_400() -> Response<String> {
    Response::builder()
        .status(400)
        .header("x-amzn-ErrorType", "TooManyRequestsException")
        .body(r#"{"message":"slow down"}"#.to_owned())
        .unwrap()
}
