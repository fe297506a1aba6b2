//! Every cause of an error is printed once, whatever printer an application uses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::error::Error;

use crate::support::{Names, Pod, Script, Step, VirtualClock, answer};
use pod_identity_provider::{Endpoint, FetchError, PodIdentityProvider};
use pod_identity_testkit::{Fault, Stage as At};

/// The error alone, as `{error}` prints it.
fn alone(error: &dyn Error) -> String {
    error.to_string()
}

/// The error and its sources, as `{error:#}` of anyhow and the SDK's `DisplayErrorContext` print it.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[track_caller]
fn assert_once(error: &FetchError, cause: &str) {
    for text in [alone(error), with_sources(error)] {
        assert_eq!(text.matches(cause).count(), 1, "{cause:?} in {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_causes_of_a_failed_fetch_are_printed_once() {
    let pod = Pod::start().await;
    pod.agent.inject_always(Fault::reset(At::BeforeHeaders));
    assert_once(&pod.failure().await, "Connection reset by peer");
    let pod = Pod::answered(500, r#"{"code":"Broken","message":"by the test"}"#).await;
    assert_once(&pod.failure().await, "by the test");
    let pod = Pod::answered(200, r#"{"AccessKeyId":7}"#).await;
    assert_once(&pod.failure().await, "AccessKeyId is a number");
    let pod = Pod::answered(200, "{").await;
    assert_once(&pod.failure().await, "not the expected JSON object");
    pod.agent.stop().await;
    assert_once(&pod.failure().await, "Connection refused");
}

#[tokio::test(start_paused = true)]
async fn the_causes_of_a_request_that_was_not_sent_are_printed_once() {
    let unset =
        PodIdentityProvider::builder().endpoint(Endpoint::parse("http://127.0.0.1/").unwrap());
    let missing = unset.token_file("/no/such/token").build().unwrap();
    assert_once(&missing.credentials().await.unwrap_err(), "does not exist");

    let wrong = PodIdentityProvider::from_lookup(|name| {
        name.ends_with("FULL_URI")
            .then(|| "http://10.0.0.7/".to_owned())
    });
    assert_once(
        &wrong.credentials().await.unwrap_err(),
        "plain http is only allowed",
    );

    let unknown = std::iter::repeat_with(|| Err(std::io::Error::other("no such host")));
    let script = Script::new(&VirtualClock::start(), |_| Step::Broken);
    let builder = script.builder().resolver(Names::answering(unknown.take(9)));
    let endpoint = Endpoint::parse("http://agent.internal/").unwrap();
    let unresolved = builder.endpoint(endpoint).build().unwrap();
    assert_once(&unresolved.credentials().await.unwrap_err(), "no such host");
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn the_sdk_prints_them_once_below_its_own_error() {
    use aws_credential_types::provider::ProvideCredentials;

    let pod = Pod::start().await;
    pod.agent.inject_always(answer(404, "no such role"));
    let error = pod.provider().provide_credentials().await.unwrap_err();
    assert_eq!(with_sources(&error).matches("no such role").count(), 1);
}
