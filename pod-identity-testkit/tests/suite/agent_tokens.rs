//! Which tokens are accepted, and the credentials for them.

use std::collections::HashSet;
use std::time::Duration;

use pod_identity_core::wire::{agent as wire, eks_auth::ErrorCode};
use pod_identity_core::{Credentials, Secret, TokenFile};
use pod_identity_testkit::{CredentialSource, Fault, Issuer, MockAgent, Stage, TokenPolicy};

use crate::common::{NOW, ROLE, shop};
use crate::raw::{Raw, Seen, agent, ask, ask_with, at_rest};

async fn with(policy: TokenPolicy) -> MockAgent {
    at_rest().0.token_policy(policy).start().await.unwrap()
}

async fn giving(source: CredentialSource) -> MockAgent {
    at_rest().0.credentials(source).start().await.unwrap()
}

fn credentials(key: &str) -> Credentials {
    let secret = || Secret::from("x".to_owned());
    Credentials::new(key, secret(), secret(), NOW + Duration::from_secs(3600))
}

fn key(seen: &Seen) -> String {
    seen.json()["AccessKeyId"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn the_volume_contains_the_current_token_and_rotation_replaces_it() {
    let agent = with(TokenPolicy::Current).await;
    let file = TokenFile::new(agent.volume().token_path());
    let first = agent.token();
    assert_eq!(Secret::from(file.read().unwrap()), first);
    assert_eq!(ask_with(&agent, first.expose()).await.status(), 200);

    let second = agent.rotate();
    assert_eq!(
        (file.read().unwrap().into(), agent.token()),
        (second.clone(), second.clone())
    );
    assert_eq!(ask_with(&agent, second.expose()).await.status(), 200);
    let stale = ask_with(&agent, first.expose()).await;
    assert_eq!(stale.status(), 400);
    assert!(stale.text().contains("(InvalidTokenException): "));
    let ages: Vec<_> = agent
        .requests()
        .iter()
        .map(|request| request.token_age)
        .collect();
    assert_eq!(ages, [Some(0), Some(0), Some(1)]);
}

#[tokio::test]
async fn the_previous_token_can_stay_valid() {
    let agent = with(TokenPolicy::CurrentOrPrevious).await;
    let first = agent.token();
    let second = agent.rotate();
    assert_eq!(ask_with(&agent, first.expose()).await.status(), 200);
    agent.rotate();
    assert_eq!(ask_with(&agent, first.expose()).await.status(), 400);
    assert_eq!(ask_with(&agent, second.expose()).await.status(), 200);
}

#[tokio::test]
async fn any_token_or_only_one_can_be_accepted() {
    let agent = with(TokenPolicy::Any).await;
    for token in ["", "x", "Bearer x"] {
        assert_eq!(ask_with(&agent, token).await.status(), 200);
    }
    let agent = with(TokenPolicy::Exact(Secret::from("x".to_owned()))).await;
    assert_eq!(ask_with(&agent, "x").await.status(), 200);
    assert!(
        ask_with(&agent, "y")
            .await
            .text()
            .contains("(InvalidTokenException): ")
    );
    assert_eq!(
        ask_with(&agent, "").await.text(),
        "Service account token cannot be empty\n"
    );
}

#[tokio::test]
async fn by_default_the_form_and_the_times_of_a_token_are_checked() {
    let agent = agent().await;
    let other = Issuer::for_cluster("eu-central-1", "OTHER").token("shop", "cart");
    assert_eq!(
        ask_with(&agent, &other.clone().forged().mint(NOW))
            .await
            .status(),
        200
    );
    assert_eq!(
        ask_with(&agent, &other.audience("sts").mint(NOW))
            .await
            .status(),
        200
    );
    let bearer = format!("Bearer {}", agent.token().expose());
    assert_eq!(ask_with(&agent, &bearer).await.status(), 400);
    assert!(agent.requests()[2].bearer_prefix);
}

#[tokio::test]
async fn verification_checks_issuer_audience_and_times() {
    let issuer = Issuer::new();
    let agent = with(TokenPolicy::Verified(issuer.clone())).await;
    let good = issuer.token("shop", "cart");
    assert_eq!(ask_with(&agent, &good.mint(NOW)).await.status(), 200);
    for (token, expected) in [
        (
            good.clone().forged().mint(NOW),
            "invalid: token signature is invalid.",
        ),
        (
            good.clone().audience("sts").mint(NOW),
            "invalid: token has an invalid audience.",
        ),
        (
            Issuer::for_cluster("us-west-2", "OTHER")
                .token("a", "b")
                .mint(NOW),
            "invalid: token has an invalid issuer.",
        ),
        (
            good.mint(NOW - Duration::from_secs(86_400)),
            "validations: token is expired",
        ),
    ] {
        let seen = ask_with(&agent, &token).await;
        assert_eq!(seen.status(), 400);
        assert!(seen.text().contains(expected), "{}", seen.text());
    }
}

#[tokio::test]
async fn new_credentials_are_minted_for_every_request_and_expire_by_the_clock() {
    let (builder, clock) = at_rest();
    let agent = builder
        .lifetime(Duration::from_secs(1200))
        .start()
        .await
        .unwrap();
    let first = wire::decode(&ask(&agent).await.body, None).unwrap();
    clock.advance(Duration::from_secs(60));
    let second = wire::decode(&ask(&agent).await.body, None).unwrap();
    assert_eq!(first.expiration(), NOW + Duration::from_secs(1200));
    assert_eq!(second.expiration(), NOW + Duration::from_secs(1260));
    assert_ne!(first.access_key_id(), second.access_key_id());
    assert_eq!(
        agent.served(),
        [first.access_key_id(), second.access_key_id()]
    );
}

#[tokio::test]
async fn a_sequence_repeats_its_last_element() {
    let agent = giving(CredentialSource::sequence(["one", "two"].map(credentials))).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(key(&ask(&agent).await));
    }
    assert_eq!(keys, ["one", "two", "two"]);
    assert_eq!(agent.served(), keys);
    let agent = at_rest()
        .0
        .credentials(credentials("fixed"))
        .start()
        .await
        .unwrap();
    assert_eq!(key(&ask(&agent).await), "fixed");
}

#[tokio::test]
async fn an_unsent_response_uses_up_no_credentials() {
    let agent = giving(CredentialSource::sequence(["one", "two"].map(credentials))).await;
    agent.inject(Fault::reset(Stage::BeforeHeaders));
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    raw.rest().await;
    agent.inject(Fault::status(503));
    ask(&agent).await;
    assert_eq!(key(&ask(&agent).await), "one");
}

#[tokio::test]
async fn each_token_has_credentials_of_its_own_or_no_association() {
    let builder = Issuer::new().token("shop", "cart");
    let (one, two, other) = (builder.mint(NOW), builder.mint(NOW), builder.mint(NOW));
    let all = [(&one, credentials("one")), (&two, credentials("two"))];
    let agent = giving(CredentialSource::per_token(all)).await;
    assert_eq!(key(&ask_with(&agent, &two).await), "two");
    assert_eq!(key(&ask_with(&agent, &one).await), "one");
    let refused = ask_with(&agent, &other).await;
    assert_eq!(refused.status(), 404);
    assert!(
        refused
            .text()
            .contains("has no service account role association for it.")
    );
}

#[tokio::test]
async fn a_closure_decides_from_the_claims() {
    let agent = giving(CredentialSource::from_fn(|request| {
        let claims = request.claims.as_ref().ok_or(ErrorCode::InvalidToken)?;
        match claims.namespace.as_deref() {
            Some("shop") => Ok(credentials("shop")),
            _ => Err(ErrorCode::AccessDenied.into()),
        }
    }))
    .await;
    let issuer = Issuer::new();
    let shop = issuer.token("shop", "cart").mint(NOW);
    assert_eq!(key(&ask_with(&agent, &shop).await), "shop");
    let bank = issuer.token("bank", "till").mint(NOW);
    assert!(
        ask_with(&agent, &bank)
            .await
            .text()
            .contains("(AccessDeniedException): ")
    );
}

#[tokio::test]
async fn a_linked_mock_of_eks_auth_decides_by_associations_and_clock() {
    let (eks, clock) = shop().await;
    let agent = MockAgent::builder()
        .eks_auth(&eks)
        .service_account("shop", "cart")
        .start()
        .await
        .unwrap();
    let granted = ask(&agent).await;
    let granted = wire::decode(&granted.body, None).unwrap();
    assert_eq!(granted.account_id(), Some("111122223333"));
    assert_eq!(granted.expiration(), NOW + Duration::from_secs(6 * 3600));
    assert_eq!(eks.minted(), [granted.access_key_id()]);
    assert!(ROLE.contains(granted.account_id().unwrap()));

    clock.advance(Duration::from_secs(86_400));
    let expired = ask(&agent).await;
    assert!(
        expired
            .text()
            .ends_with("claim validations: token is expired\n")
    );
    agent.rotate();
    let id = eks.associate("shop", "cart", ROLE);
    assert_eq!(ask(&agent).await.status(), 200);
    eks.dissociate(&id);
    assert_eq!(ask(&agent).await.status(), 404);
}

#[tokio::test]
async fn debug_output_contains_no_secret() {
    let agent = agent().await;
    let seen = ask(&agent).await;
    let mut raw = Raw::connect(&agent).await;
    raw.send(&crate::raw::get("a.b.sent-by-a-stranger")).await;
    raw.answer().await;
    let printed = format!("{agent:?} {:?} {:?}", agent.requests(), agent.served());
    agent.assert_no_secrets(&printed);
    let secrets = agent.secrets();
    let secrets: HashSet<&str> = secrets.iter().map(Secret::expose).collect();
    for field in ["SecretAccessKey", "Token"] {
        assert!(secrets.contains(seen.json()[field].as_str().unwrap()));
    }
    assert!(secrets.contains("a.b.sent-by-a-stranger"));
    assert!(secrets.contains(agent.token().expose()));
    assert!(printed.contains("Sensitive"));
}

#[tokio::test]
async fn the_mocks_own_token_is_signed_if_it_can_be_verified() {
    let issuer = Issuer::new();
    let plain = MockAgent::start().await;
    assert!(issuer.verify(plain.token().expose()).is_err());
    for builder in [
        MockAgent::builder().issuer(issuer.clone()),
        MockAgent::builder().token_policy(TokenPolicy::Verified(issuer.clone())),
    ] {
        let agent = builder.start().await.unwrap();
        issuer.verify(agent.token().expose()).unwrap();
    }
}
