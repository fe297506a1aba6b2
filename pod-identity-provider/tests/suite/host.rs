//! No setting, runtime or piece of the application's own code turns the provider against its host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Notes, Pod, Script, Step, VirtualClock, hours, minutes};
use http::{Request, Response};
use pod_identity_core::SystemClock;
use pod_identity_provider::{
    Backoff, BoxFuture, Endpoint, Event, FetchError, PodIdentityProvider, RefreshPolicy, Resolve,
    Transport, TransportError, Window, Zeroizing,
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn no_setting_panics() {
    let clock = VirtualClock::start();
    for time in [Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
        let policy = RefreshPolicy::provider()
            .with_window(Window::Fixed(time))
            .with_retention(time)
            .with_wait(time)
            .with_rest(Backoff::new(time, time))
            .with_attempt_timeout(time);
        // Neither a first fetch, nor a refresh, nor an expiry, with and without an answer.
        for failing in [false, true] {
            let script = Script::new(&clock, move |call| match call {
                1 => Step::Fresh(hours(1)),
                _ if failing => Step::Broken,
                _ => Step::Fresh(hours(1)),
            });
            let builder = script.builder().policy(policy.clone());
            let builder = builder.attempt_timeout(time).connect_timeout(time);
            let provider = builder.build().unwrap();
            for _ in 0..4 {
                let _whatever = provider.credentials().await;
                let _whatever = provider.refresh_now().await;
                sleep(minutes(29)).await;
            }
        }
        let pod = Pod::start().await;
        let builder = pod.builder().policy(policy);
        let builder = builder.attempt_timeout(Duration::MAX).connect_timeout(time);
        let _whatever = builder.build().unwrap().credentials().await;
    }
}

#[test]
fn a_runtime_without_a_timer_is_reported_in_the_error() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let provider = PodIdentityProvider::from_lookup(loopback);
    runtime.block_on(async {
        assert!(provider.snapshot().is_none());
        provider.invalidate("ASIA1");
        for error in [
            provider.credentials().await.unwrap_err(),
            provider.refresh_now().await.unwrap_err(),
        ] {
            assert!(matches!(error, FetchError::RuntimeWithoutTime), "{error:?}");
            assert_eq!(
                error.to_string(),
                "the tokio runtime has no timers: build it with `enable_all`"
            );
        }
    });
}

#[test]
fn a_runtime_without_io_is_reported_in_the_error_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let provider = PodIdentityProvider::from_lookup(loopback);
    let error = runtime.block_on(provider.credentials()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1:1 cannot be reached: the tokio runtime has no I/O: build it with `enable_all`"
    );
    assert!(!error.is_retryable());
}

fn loopback(name: &str) -> Option<String> {
    (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| "http://127.0.0.1:1/".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_panicking_transport_fails_its_attempt_with_the_panic_message() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Panic,
        _ => Step::Fresh(hours(6)),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    let credentials = provider.credentials().await.unwrap();
    assert_eq!(credentials.access_key_id(), "ASIA2");
    assert!(notes.text().contains("by the script"), "{}", notes.text());

    let always = Script::new(&clock, |_| Step::Panic);
    let error = always.provider().credentials().await.unwrap_err();
    assert_eq!(error.to_string(), "the attempt panicked: by the script");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_future_is_created_fails_its_attempt_too() {
    #[derive(Debug)]
    struct Rude;

    impl Transport for Rude {
        fn send(
            &self,
            _request: Request<()>,
            _addresses: Vec<SocketAddr>,
        ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
            panic!("no transport")
        }
    }

    impl Resolve for Rude {
        fn resolve<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
            panic!("no names")
        }
    }

    let endpoint = |uri| PodIdentityProvider::builder().endpoint(Endpoint::parse(uri).unwrap());
    for (builder, message) in [
        (
            endpoint("http://127.0.0.1/").transport(Arc::new(Rude)),
            "no transport",
        ),
        (
            endpoint("http://localhost/").resolver(Arc::new(Rude)),
            "no names",
        ),
    ] {
        let provider = builder.no_token().build().unwrap();
        let error = provider.credentials().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the attempt panicked: {message}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_fails_neither_a_caller_nor_an_attempt() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 | 3 => Step::Panic,
        _ => Step::Fresh(hours(1)),
    });
    let observed = Arc::new(AtomicUsize::new(0));
    let count = observed.clone();
    let observer = move |_event: &Event| {
        count.fetch_add(1, Ordering::SeqCst);
        panic!("by the observer");
    };
    let provider = script.builder().observer(observer).build().unwrap();
    provider.credentials().await.unwrap();
    provider.invalidate("ASIA2");
    sleep(hours(3)).await;
    provider.credentials().await.unwrap();
    assert!(observed.load(Ordering::SeqCst) >= 5);
    assert!(provider.state().ready);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_endless_token_file_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("token");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let builder = PodIdentityProvider::builder().environment(loopback);
    let provider = builder.token_file(&fifo).build().unwrap();
    let error = provider.credentials().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("token file {}: is not a regular file", fifo.display())
    );
}

#[tokio::test]
async fn the_path_and_the_query_of_the_uri_are_not_printed() {
    let script = Script::new(&VirtualClock::start(), |_| Step::Status(500, "no"));
    let relative = |name: &str| {
        (name == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            .then(|| "/v2/credentials/capability?key=capability".to_owned())
    };
    let builder = PodIdentityProvider::builder()
        .environment(relative)
        .clock(Arc::new(SystemClock))
        .policy(RefreshPolicy::provider().with_attempts(1))
        .transport(script);
    let mut printed = format!("{builder:?}");
    let provider = builder.build().unwrap();
    let error = provider.credentials().await.unwrap_err();
    printed.push_str(&format!(
        "{provider:?} {error} {error:?} {:?}",
        provider.state()
    ));
    assert!(printed.contains("169.254.170.2"), "{printed}");
    assert!(!printed.contains("capability"), "{printed}");

    let pod = Pod::start().await;
    pod.agent.stop().await;
    let uri = format!("{}?key=capability", pod.agent.uri());
    let builder = pod.builder().endpoint(Endpoint::parse(&uri).unwrap());
    let error = builder.build().unwrap().credentials().await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("capability"),
        "{error:?}"
    );
}
