//! Pods of the node that come and go, and the node's startup taint: an agent before a mock of the API server,
//! in virtual time.

use pod_identity_agent::{AgentBuilder, ApiServer};
use pod_identity_core::KubernetesName;
use pod_identity_testkit::{Fault, Gate, MockApiServer, Operation, Stage};
use serde_json::json;
use tokio::time::sleep;

use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, MINUTE, NOW, soon};

const NODE: &str = "node-1";
const TAINT: &str = "eks.amazonaws.com/pod-identity-not-ready";

const HOURLY: Settings = Settings {
    retention: HOUR,
    ..Settings::PATIENT
};

async fn api_server() -> MockApiServer {
    let builder = MockApiServer::builder().in_this_runtime();
    builder.start().await.unwrap()
}

fn client(mock: &MockApiServer) -> (ApiServer, KubernetesName) {
    let server = ApiServer::new(&mock.url(), mock.service_account_dir()).unwrap();
    (server, KubernetesName::subdomain(NODE).unwrap())
}

/// An agent that watches the pods of its node.
async fn watching(mock: &MockApiServer) -> Scene {
    let (server, node) = client(mock);
    Scene::flowing_with(HOURLY, |agent| agent.watch_pods(server, node)).await
}

fn untainting(mock: &MockApiServer) -> impl FnOnce(AgentBuilder) -> AgentBuilder {
    let (server, node) = client(mock);
    move |agent| agent.startup_taint(server, node, TAINT)
}

fn token(scene: &Scene, pod: &str) -> String {
    scene.builder().pod(pod).mint(NOW)
}

#[tokio::test(start_paused = true)]
async fn credentials_of_pods_that_are_gone_are_dropped_when_they_are_due_and_no_others() {
    let mock = api_server().await;
    let pods = ["stays", "deleted", "terminates", "succeeds"];
    for pod in pods {
        mock.add_pod("shop", pod, NODE);
    }
    let scene = watching(&mock).await;
    mock.wait_for_answers_of(Operation::WatchPods, 1).await;
    // The last one is on another node, as the token of a node that was renamed is.
    let tokens = [pods.as_slice(), &["elsewhere"]].concat();
    let tokens: Vec<String> = tokens.iter().map(|pod| token(&scene, pod)).collect();
    for token in &tokens {
        scene.get(token).await.key();
    }
    mock.delete_pod("shop", "deleted");
    mock.terminate_pod("shop", "terminates");
    mock.set_pod_phase("shop", "succeeds", "Succeeded");
    sleep(HOUR + MINUTE).await;

    let exchanges: Vec<usize> = tokens.iter().map(|token| scene.exchanges(token)).collect();
    assert_eq!(exchanges, [2, 1, 2, 1, 2]);
    let deleted = &tokens[1];
    scene.get(deleted).await.key();
    assert_eq!(
        scene.exchanges(deleted),
        2,
        "whoever asks nevertheless is served"
    );
    let said = scene.end().await;
    mock.assert_no_secrets(said.text());
}

#[tokio::test]
async fn the_metrics_count_pods_that_are_watched_and_credentials_that_were_dropped() {
    let mock = api_server().await;
    let [stays, deleted] = ["stays", "deleted"];
    for pod in [stays, deleted] {
        mock.add_pod("shop", pod, NODE);
    }
    let (server, node) = client(&mock);
    let scene = Scene::here(HOURLY, |agent| agent.watch_pods(server, node)).await;
    shows(&scene, "pod_identity_watched_pods 2").await;
    scene.get(&token(&scene, deleted)).await.key();
    mock.delete_pod("shop", deleted);
    shows(&scene, "pod_identity_watched_pods 1").await;
    scene.clock.advance(HOUR);
    // The agent reads the clock when there is something to do.
    scene.get(&token(&scene, stays)).await.key();
    shows(&scene, "pod_identity_gone_pods_dropped 1").await;
    shows(&scene, "pod_identity_cached_credentials 1").await;
}

/// Waits until the metrics have this line.
async fn shows(scene: &Scene, line: &str) {
    let shown = async { while !scene.exposition().await.lines().any(|it| it == line) {} };
    soon(shown).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_deleted_while_the_api_server_was_away_is_gone_when_it_is_back() {
    let mock = api_server().await;
    for pod in ["stays", "deleted"] {
        mock.add_pod("shop", pod, NODE);
    }
    let scene = watching(&mock).await;
    mock.wait_for_answers_of(Operation::WatchPods, 1).await;
    let [stays, deleted] = ["stays", "deleted"].map(|pod| token(&scene, pod));
    for token in [&stays, &deleted] {
        scene.get(token).await.key();
    }
    mock.stop().await;
    mock.delete_pod("shop", "deleted");
    sleep(10 * MINUTE).await;
    mock.compact();
    mock.restart().await.unwrap();
    sleep(HOUR).await;
    assert_eq!([scene.exchanges(&stays), scene.exchanges(&deleted)], [2, 1]);
    assert_eq!(
        mock.requests_to(Operation::ListPods).len(),
        2,
        "its version had expired"
    );
    let said = scene.end().await;
    let away = said.lines("the pods of this node cannot be watched now");
    assert_eq!(away.len(), 1, "{}", said.text());
    assert_eq!(
        said.lines("the API server answers again").len(),
        1,
        "{}",
        said.text()
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_credentials_of_all_pods_are_refreshed() {
    let mock = api_server().await;
    mock.on(Operation::ListPods)
        .inject_always(Fault::error("Forbidden"));
    let scene = watching(&mock).await;
    let token = token(&scene, "cart-0");
    scene.get(&token).await.key();
    sleep(2 * HOUR + MINUTE).await;
    assert_eq!(scene.exchanges(&token), 3);
    let asked = mock.requests_to(Operation::ListPods).len();
    assert!((100..250).contains(&asked), "once a minute or so: {asked}");
    let said = scene.end().await;
    let refused = said.lines("the pods of this node cannot be watched now");
    let error = refused[0]["error"].as_str().unwrap();
    assert!(
        error.contains("403") && error.contains("service account"),
        "{error}"
    );
    assert!(refused.len() <= 5, "every half hour: {}", refused.len());
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_and_lists_again_only_if_its_version_has_expired() {
    let mock = api_server().await;
    mock.add_pod("shop", "cart-0", NODE);
    let _scene = watching(&mock).await;
    mock.wait_for_answers_of(Operation::WatchPods, 1).await;
    mock.add_pod("shop", "cart-1", NODE);
    mock.add_pod("shop", "cart-2", "node-2");
    mock.send_bookmarks();
    sleep(2 * MINUTE).await;
    mock.end_watches();
    mock.wait_for_answers_of(Operation::WatchPods, 2).await;
    sleep(2 * MINUTE).await;
    mock.break_watches();
    mock.wait_for_answers_of(Operation::WatchPods, 3).await;
    assert_eq!(mock.requests_to(Operation::ListPods).len(), 1);
    let watches = mock.requests_to(Operation::WatchPods);
    assert!(
        watches[1].path.contains("resourceVersion=1003&"),
        "{}",
        watches[1].path
    );
    mock.expire_watches();
    mock.wait_for_answers_of(Operation::WatchPods, 4).await;
    assert_eq!(mock.requests_to(Operation::ListPods).len(), 2);
    let accepts = mock
        .requests()
        .into_iter()
        .map(|request| request.accept.unwrap());
    let metadata = accepts.filter(|accept| accept.contains("as=PartialObjectMetadata"));
    assert_eq!(
        metadata.count(),
        mock.requests().len(),
        "no more of a pod than it needs"
    );
}

#[tokio::test(start_paused = true)]
async fn where_a_watch_cannot_go_on_at_its_version_the_pods_are_listed_again() {
    let error = json!({"kind": "Status", "code": 500, "message": "unable to decode"});
    let error = json!({"type": "ERROR", "object": error});
    for fault in [
        Fault::body(format!("{error}\n")),
        Fault::body("{\"type\":\"ADDED\"}\n"),
        Fault::error("BadRequest"),
    ] {
        let mock = api_server().await;
        for pod in ["stays", "deleted"] {
            mock.add_pod("shop", pod, NODE);
        }
        mock.on(Operation::WatchPods).inject_always(fault.clone());
        let scene = watching(&mock).await;
        mock.wait_for_answers_of(Operation::WatchPods, 1).await;
        let [stays, deleted] = ["stays", "deleted"].map(|pod| token(&scene, pod));
        for token in [&stays, &deleted] {
            scene.get(token).await.key();
        }
        mock.delete_pod("shop", "deleted");
        sleep(HOUR + MINUTE).await;
        assert_eq!(
            [scene.exchanges(&stays), scene.exchanges(&deleted)],
            [2, 1],
            "{fault:?}"
        );
        let said = scene.end().await;
        let away = said.lines("the pods of this node cannot be watched now");
        assert!((1..=3).contains(&away.len()), "every half hour: {away:?}");
        let back = said.lines("the API server answers again");
        assert!(back.is_empty(), "a watch that fails at once: {back:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_had_none_are_watched() {
    let mock = api_server().await;
    let scene = watching(&mock).await;
    sleep(MINUTE).await;
    mock.add_pod("shop", "deleted", NODE);
    sleep(MINUTE).await;
    let token = token(&scene, "deleted");
    scene.get(&token).await.key();
    mock.delete_pod("shop", "deleted");
    sleep(HOUR + MINUTE).await;
    assert_eq!(scene.exchanges(&token), 1);
    assert_eq!(mock.requests_to(Operation::ListPods).len(), 1);
    let said = scene.end().await;
    let away = said.lines("the pods of this node cannot be watched now");
    assert!(away.is_empty(), "{away:?}");
}

#[tokio::test(start_paused = true)]
async fn the_startup_taint_is_removed_in_the_end_and_no_other_is() {
    let mock = api_server().await;
    let other = "node.kubernetes.io/not-ready:NoSchedule";
    let [no_execute, no_schedule] = ["NoExecute", "NoSchedule"].map(|it| format!("{TAINT}:{it}"));
    mock.add_node(NODE, &[&no_execute, other, &no_schedule]);
    mock.on(Operation::GetNode).inject(Fault::status(503));
    mock.on(Operation::PatchNode)
        .inject(Fault::error("Conflict"));
    let scene = Scene::flowing_with(Settings::PATIENT, untainting(&mock)).await;
    sleep(MINUTE).await;
    assert_eq!(mock.taints(NODE), [other]);
    let gets = mock.requests_to(Operation::GetNode).len();
    sleep(HOUR).await;
    assert_eq!(
        mock.requests_to(Operation::GetNode).len(),
        gets,
        "once is enough"
    );
    let said = scene.end().await;
    assert_eq!(
        said.lines("the startup taint cannot be removed now").len(),
        1
    );
    assert_eq!(
        said.lines("the startup taint is removed").len(),
        1,
        "{}",
        said.text()
    );
}

#[tokio::test(start_paused = true)]
async fn the_startup_taint_is_removed_also_after_successes_that_are_not_the_node() {
    for operation in [Operation::GetNode, Operation::PatchNode] {
        for fault in [
            Fault::body("{}"),
            Fault::body("null"),
            Fault::empty(),
            Fault::html(),
        ] {
            let mock = api_server().await;
            mock.add_node(NODE, &[&format!("{TAINT}:NoExecute")]);
            mock.on(operation).inject(fault.clone());
            let scene = Scene::flowing_with(Settings::PATIENT, untainting(&mock)).await;
            sleep(MINUTE).await;
            let left = mock.taints(NODE);
            assert!(left.is_empty(), "{operation}, {fault:?}: {left:?}");
            let said = scene.end().await;
            let removed = said.lines("the startup taint is removed");
            assert_eq!(removed.len(), 1, "{}", said.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_taint_that_another_client_adds_meanwhile_stays() {
    let mock = api_server().await;
    let [startup, other] = [format!("{TAINT}:NoExecute"), "other:NoSchedule".to_owned()];
    mock.add_node(NODE, &[&startup]);
    let gate = Gate::new();
    let held = Fault::hold(Stage::BeforeHeaders, &gate);
    mock.on(Operation::PatchNode).inject(held);
    let scene = Scene::flowing_with(Settings::PATIENT, untainting(&mock)).await;
    gate.wait_for(1).await;
    mock.add_node(NODE, &[&other, &startup]);
    gate.release();
    sleep(MINUTE).await;
    assert_eq!(mock.taints(NODE), [other]);
    assert_eq!(
        mock.requests_to(Operation::PatchNode).len(),
        2,
        "the first did not apply"
    );
    scene.end().await;
}
