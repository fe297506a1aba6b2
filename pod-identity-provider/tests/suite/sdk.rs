//! What the AWS SDK sees.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use crate::support::{SECRET_KEY, SESSION_TOKEN, Script, Step, VirtualClock, hours, minutes};
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use pod_identity_provider::{Clock, PodIdentityProvider, RefreshPolicy};
use tokio::time::sleep;

async fn refused(script: &Arc<Script>) -> CredentialsError {
    let provider = script
        .builder()
        .policy(RefreshPolicy::provider().with_attempts(1))
        .build()
        .unwrap();
    provider.provide_credentials().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_set_carries_account_expiry_name_and_feature() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let credentials = script.provider().provide_credentials().await.unwrap();
    assert_eq!(credentials.access_key_id(), "ASIA1");
    assert_eq!(credentials.secret_access_key(), SECRET_KEY);
    assert_eq!(credentials.session_token(), Some(SESSION_TOKEN));
    assert_eq!(credentials.account_id().unwrap().as_str(), "111122223333");
    let left = credentials
        .expiry()
        .unwrap()
        .duration_since(clock.now().into())
        .unwrap();
    assert!(left.abs_diff(minutes(10)) < Duration::from_secs(1));
    assert!(format!("{credentials:?}").contains(r#"provider_name: "PodIdentity""#));
    let features = credentials
        .get_property::<Vec<AwsCredentialFeature>>()
        .unwrap();
    assert_eq!(features[..], [AwsCredentialFeature::CredentialsHttp]);
}

#[tokio::test(start_paused = true)]
async fn with_a_set_held_the_future_is_ready_at_its_first_poll() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| {
        if call == 1 {
            Step::Fresh(hours(6))
        } else {
            Step::Hang
        }
    });
    let provider = script.provider();
    assert!(provider.fallback_on_interrupt().is_none());
    provider.warm_up().await.unwrap();
    for pause in [hours(5) + minutes(30), minutes(1)] {
        let mut future = pin!(provider.provide_credentials());
        let Poll::Ready(Ok(credentials)) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("not ready");
        };
        assert_eq!(credentials.access_key_id(), "ASIA1");
        sleep(pause).await;
    }
    assert_eq!(
        provider.fallback_on_interrupt().unwrap().access_key_id(),
        "ASIA1"
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_call_falls_back_to_a_valid_set_that_is_due_for_a_refresh() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        _ => Step::Hang,
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    // The machine slept through the time of the refresh: what was published has run out.
    clock.suspend(hours(5) + minutes(58));
    let credentials = provider.fallback_on_interrupt().unwrap();
    assert_eq!(credentials.access_key_id(), "ASIA1");
}

#[tokio::test(start_paused = true)]
async fn an_expired_set_comes_with_an_expiry_in_the_future() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| {
        if call == 1 {
            Step::Fresh(minutes(5))
        } else {
            Step::Broken
        }
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(1)).await;
    let credentials = provider.provide_credentials().await.unwrap();
    assert!(
        credentials.expiry().unwrap() > SystemTime::from(clock.now() + Duration::from_secs(14))
    );
    let features = credentials
        .get_property::<Vec<AwsCredentialFeature>>()
        .unwrap();
    assert_eq!(features[..], [AwsCredentialFeature::CredentialsHttp]);
}

// A timeout is a `provider_error`: `provider_timed_out` has no room for the endpoint and the stage.
#[tokio::test(start_paused = true)]
async fn errors_are_mapped_to_those_of_the_sdk() {
    let unset = PodIdentityProvider::from_lookup(|_| None);
    let error = unset.provide_credentials().await.unwrap_err();
    assert!(
        matches!(error, CredentialsError::CredentialsNotLoaded(_)),
        "{error:?}"
    );

    let wrong = |name: &str| {
        name.ends_with("FULL_URI")
            .then(|| "http://10.0.0.7/".to_owned())
    };
    let error = PodIdentityProvider::from_lookup(wrong)
        .provide_credentials()
        .await
        .unwrap_err();
    assert!(
        matches!(error, CredentialsError::InvalidConfiguration(_)),
        "{error:?}"
    );

    let clock = VirtualClock::start();
    for step in [
        || Step::Broken,
        || Step::Status(404, ""),
        || Step::Status(503, ""),
        || Step::Panic,
    ] {
        let error = refused(&Script::new(&clock, move |_| step())).await;
        assert!(
            matches!(error, CredentialsError::ProviderError(_)),
            "{error:?}"
        );
    }
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let error = script
        .builder()
        .token_file("/no/such/file")
        .build()
        .unwrap()
        .provide_credentials()
        .await
        .unwrap_err();
    assert!(
        matches!(error, CredentialsError::ProviderError(_)),
        "{error:?}"
    );

    let error = refused(&Script::new(&clock, |_| Step::Hang)).await;
    let CredentialsError::ProviderError(_) = error else {
        panic!("{error:?}")
    };
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(
        source.to_string(),
        "no complete answer from 169.254.170.23 within 5s"
    );

    let error = refused(&Script::new(&clock, |_| Step::Status(200, "{}"))).await;
    assert!(matches!(error, CredentialsError::Unhandled(_)), "{error:?}");
}
