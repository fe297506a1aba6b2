//! The scenarios under `examples/`, and the page that documents all keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::Clock;
use pod_identity_testkit::{MockAgent, MockEksAuth, Scenario, SettableClock};
use tokio::net::TcpStream;

use crate::common::{NOW, assume, soon};
use crate::raw::{Raw, ask};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

async fn start(name: &str) -> (MockAgent, MockEksAuth, Arc<SettableClock>) {
    let path = project("examples/scenarios").join(name);
    let scenario = Scenario::read(path).unwrap();
    let clock = Arc::new(SettableClock::at(NOW));
    let given: Arc<dyn Clock> = clock.clone();
    let eks = MockEksAuth::builder()
        .scenario(&scenario)
        .clock(given.clone());
    let agent = MockAgent::builder().scenario(&scenario).clock(given);
    (
        agent.start().await.unwrap(),
        eks.start().await.unwrap(),
        clock,
    )
}

#[tokio::test]
async fn yesterdays_outage_happens_again() {
    let (agent, eks, clock) = start("yesterdays-outage.toml").await;
    let first = agent.token();
    let at = async |minutes: u32, seconds: u64| {
        clock.set(NOW + Duration::from_secs(60) * minutes + Duration::from_secs(seconds));
        eks.catch_up().await.unwrap();
        agent.catch_up().await.unwrap();
    };
    assert_eq!(ask(&agent).await.status(), 200);
    assert_eq!(assume(&eks, first.expose()).await.status, 200);

    at(10, 0).await;
    assert_eq!(ask(&agent).await.status(), 429);
    let throttled = assume(&eks, first.expose()).await;
    assert_eq!(throttled.header("x-amz-retry-after"), "2000");

    at(18, 0).await;
    let seen = ask(&agent).await;
    assert_eq!((seen.status(), seen.header("Retry-After")), (503, "5"));
    let count = eks.request_count();
    tokio::select! {
        _answered = assume(&eks, first.expose()) => panic!("it stalls"),
        () = soon(eks.wait_for_requests(count + 1)) => {}
    }

    at(25, 0).await;
    TcpStream::connect(agent.address()).await.unwrap_err();
    assert_eq!(assume(&eks, first.expose()).await.status, 200, "it is back");
    at(25, 40).await;
    assert_eq!(ask(&agent).await.status(), 200);

    at(48, 0).await;
    let second = agent.token();
    assert_ne!(second, first);
    assert_eq!(ask(&agent).await.status(), 200);
    for token in [&first, &second] {
        assert_eq!(assume(&eks, token.expose()).await.status, 200);
    }

    at(90, 0).await;
    assert_eq!(
        assume(&eks, first.expose()).await.code(),
        "InvalidTokenException"
    );
    assert_eq!(assume(&eks, second.expose()).await.status, 200);
}

#[tokio::test]
async fn a_throttled_deployment_is_slow_until_it_ends() {
    let (agent, eks, clock) = start("throttled-deploy.toml").await;
    for status in [429, 429, 429, 200] {
        assert_eq!(ask(&agent).await.status(), status);
    }
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    let token = agent.token();
    let mut statuses = vec![assume(&eks, token.expose()).await.status];
    for mock_gate in [
        agent.named_gate("deploy-is-over"),
        eks.named_gate("deploy-is-over"),
    ] {
        mock_gate.release();
    }
    assert_eq!(soon(raw.answer()).await.status(), 200);
    for _ in 0..10 {
        statuses.push(assume(&eks, token.expose()).await.status);
    }
    assert_eq!(statuses[..10], [200; 10], "the burst of a node");
    assert_eq!(statuses[10], 429);
    clock.advance(Duration::from_secs(1));
    assert_eq!(assume(&eks, token.expose()).await.status, 200);
}

#[test]
fn every_key_is_documented() {
    let page = std::fs::read_to_string(project("docs/scenario.md")).unwrap();
    for table in [
        "",
        "[pod]",
        "[agent]",
        "[[agent.faults]]",
        "[[agent.expectations]]",
        "[eks]",
        "[eks.throttle]",
        "[eks.throttle.node]",
        "[[eks.roles]]",
        "[[eks.associations]]",
        "[[timeline]]",
    ] {
        let error = Scenario::from_toml(&format!("{table}\nnonsense = 1"));
        let error = error.unwrap_err().to_string();
        let (_, keys) = error.split_once("expected ").unwrap();
        let keys: Vec<_> = keys.split('`').skip(1).step_by(2).collect();
        assert!(!keys.is_empty(), "{table}: {error}");
        for key in keys {
            assert!(page.contains(&format!("`{key}`")), "{table}: {key}");
        }
    }
}
