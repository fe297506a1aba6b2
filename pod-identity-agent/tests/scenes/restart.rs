//! The agent of a node restarts while all its pods send requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, Timestamp};
use pod_identity_testkit::Fault;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::client::{Client, Request};
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::wall::Wall;
use crate::support::{HOUR, NOW, SECOND, pod};

const MILLI: Duration = Duration::from_millis(1);

const PODS: usize = 250;

/// The exchanges that EKS Auth grants per second.
const RATE: usize = 20;

#[tokio::test(start_paused = true)]
async fn after_a_restart_pods_get_credentials_at_the_rate_that_the_service_grants() {
    restart(&Scene::flowing(Settings::DEFAULT).await, 0.9).await;
}

#[tokio::test]
#[ignore = "needs libfaketime, takes 30 seconds"]
async fn after_a_restart_of_the_program_pods_get_credentials_at_the_granted_rate() {
    // In real time, on a machine that has more to do.
    restart(&Scene::outside_flowing(Settings::DEFAULT).await, 0.7).await;
}

/// At least this share of what the service grants is used.
async fn restart(scene: &Scene, share: f64) {
    scene.eks.inject_always(Fault::latency(20 * MILLI));
    let limited = Limited::new(Arc::clone(&scene.time));
    scene
        .eks
        .inject_always(Fault::respond(move |_request| limited.answer()));
    let (pods, longest) = all_at_once(scene, RetryPolicy::BOTOCORE).await;
    let calls = scene.eks.request_count();
    // Those of the current second, too.
    let granted = RATE as f64 * (1.0 + longest.as_secs_f64().floor());
    println!("botocore: {pods} pods, {calls} exchanges, {longest:?}");
    assert!(pods as f64 >= granted * share, "{pods} of {granted}");
    assert!(calls <= pods * 3 / 2, "{calls} exchanges for {pods}");

    // Clients that keep trying are served, and by then each pod has cost little more than one exchange.
    let (pods, longest) = all_at_once(
        scene,
        RetryPolicy {
            attempts: 30,
            ..RetryPolicy::BOTOCORE
        },
    )
    .await;
    let calls = scene.eks.request_count();
    println!("patient: {pods} pods, {calls} exchanges, {longest:?}");
    assert_eq!(pods, PODS, "all of the second crowd");
    assert!(calls <= 2 * PODS * 13 / 10, "{calls} exchanges");
}

#[derive(Clone, Copy)]
struct RetryPolicy {
    timeout: Duration,
    attempts: u32,
    between: Duration,
}

impl RetryPolicy {
    /// `ContainerMetadataFetcher`: `TIMEOUT_SECONDS`, `RETRY_ATTEMPTS`, `SLEEP_TIME`.
    const BOTOCORE: Self = Self {
        timeout: Duration::from_secs(2),
        attempts: 3,
        between: SECOND,
    };
}

/// Returns how many pods got credentials, and how long the last of them tried. Connections are opened one by
/// one beforehand, because the kernel's short queue does not follow virtual time.
async fn all_at_once(scene: &Scene, retries: RetryPolicy) -> (usize, Duration) {
    let mut clients = Vec::new();
    for number in 0..PODS {
        let mut client = Client::connect_from(pod(number), scene.address).await;
        client.ask(Request::of("/")).await;
        clients.push((client, scene.token()));
    }
    let began = Instant::now();
    let mut crowd = JoinSet::new();
    for (mut client, token) in clients {
        crowd.spawn(async move {
            for attempt in 0..retries.attempts {
                if attempt > 0 {
                    sleep(retries.between).await;
                }
                let asked = client.ask(Request::with_token(&token));
                let answer = timeout(retries.timeout, asked).await;
                if answer.expect("it must be answered in time").status == 200 {
                    return true;
                }
            }
            false
        });
    }
    let successes = crowd.join_all().await.iter().filter(|ok| **ok).count();
    (successes, began.elapsed())
}

/// An EKS Auth that grants this many exchanges per second, and throttles the others.
struct Limited {
    time: Arc<Wall>,
    granted: Mutex<HashMap<u64, usize>>,
}

impl Limited {
    fn new(time: Arc<Wall>) -> Self {
        Self {
            time,
            granted: Mutex::default(),
        }
    }

    fn answer(&self) -> Response<String> {
        let now = self.time.now();
        let second = now.saturating_since(NOW).as_secs();
        let mut granted = self.granted.lock().unwrap();
        let granted = granted.entry(second).or_default();
        if *granted < RATE {
            *granted += 1;
            return Response::new(session(now + 6 * HOUR));
        }
        let code = ErrorCode::Throttling;
        Response::builder()
            .status(code.status())
            .header("x-amzn-ErrorType", code.name())
            .body(r#"{"message":"Rate exceeded"}"#.to_owned())
            .unwrap()
    }
}

fn session(expires: Timestamp) -> String {
    let expires = expires
        .saturating_since(Timestamp::from_unix_secs(0))
        .as_secs();
    format!(
        concat!(
            r#"{{"subject":{{"namespace":"shop","serviceAccount":"cart"}},"#,
            r#""audience":"pods.eks.amazonaws.com","#,
            r#""podIdentityAssociation":{{"associationArn":"arn:a","associationId":"a-1"}},"#,
            r#""assumedRoleUser":{{"arn":"arn:aws:sts::1:assumed-role/r/s","assumeRoleId":"A:s"}},"#,
            r#""credentials":{{"sessionToken":"t","secretAccessKey":"s","accessKeyId":"ASIA","#,
            r#""expiration":{}}}}}"#
        ),
        expires
    )
}
