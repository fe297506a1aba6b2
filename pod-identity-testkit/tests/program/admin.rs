use std::time::Duration;

use crate::http;
use crate::process::{Mock, soon};

#[tokio::test]
async fn requests_without_the_token_or_with_another_host_are_refused() {
    let mock = Mock::start(&["agent"]).await;
    let uri = format!("{}/requests", mock.text("/admin/uri"));
    let right = format!("Bearer {}", mock.text("/admin/token"));
    let authority = &mock.text("/admin/uri")[7..];
    let rebound = authority.replace("127.0.0.1", "evil.example");
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer x")], 401),
        (vec![("authorization", &right[7..])], 401),
        (vec![("authorization", &right), ("host", &rebound)], 403),
        (vec![("authorization", &right)], 200),
    ] {
        let answer = soon(http::send("GET", &uri, &headers, "")).await;
        assert_eq!(answer.status, Some(status), "{headers:?}");
    }
}

#[tokio::test]
async fn two_mocks_have_different_tokens() {
    let mocks = [Mock::start(&["agent"]).await, Mock::start(&["agent"]).await];
    let [one, other] = mocks.each_ref().map(|mock| mock.text("/admin/token"));
    assert_ne!(one, other);
    assert_eq!(one.len(), 64);
}

#[tokio::test]
async fn faults_apply_to_the_requested_number_of_requests() {
    let mock = Mock::start(&["agent"]).await;
    for (fault, statuses) in [
        (
            r#"{"status": 503, "count": 2}"#,
            [Some(503), Some(503), Some(200)],
        ),
        (
            r#"{"error": "AccessDeniedException"}"#,
            [Some(400), Some(200), Some(200)],
        ),
        (
            r#"{"reset": "before_headers"}"#,
            [None, Some(200), Some(200)],
        ),
        (
            r#"{"close": "before_headers", "latency": "1ms"}"#,
            [None, Some(200), Some(200)],
        ),
    ] {
        mock.admin("POST", "/faults", fault).await;
        for status in statuses {
            assert_eq!(mock.ask().await.status, status, "{fault}");
        }
    }
    mock.admin("POST", "/faults", r#"{"malformed": true}"#)
        .await;
    let malformed = mock.ask().await.body;
    assert!(serde_json::from_str::<serde_json::Value>(&malformed).is_err());
}

#[tokio::test]
async fn a_fault_that_waits_is_told_in_the_words_in_which_it_was_given() {
    let mock = Mock::start(&["agent"]).await;
    let fault = r#"{"status":503,"stall":"in_body","count":2,"pod":"cart-0","after":"1h 30m"}"#;
    mock.admin("POST", "/faults", fault).await;
    let pending = mock.admin("GET", "/faults", "").await;
    let pending = &pending["faults"][0];
    assert_eq!(
        pending["fault"],
        serde_json::from_str::<serde_json::Value>(fault).unwrap()
    );
    assert_eq!(
        (&pending["left"], &pending["used"]),
        (&2.into(), &false.into())
    );
    let failures = mock.admin("POST", "/verify", "").await;
    let failure = failures["failures"][0].as_str().unwrap();
    assert!(failure.contains(fault), "{failure}");
    mock.admin("POST", "/reset", "").await;
    let failures = mock.admin("POST", "/verify", "").await;
    assert_eq!(
        failures,
        serde_json::json!({"failures": [], "forgotten": 0})
    );
}

#[tokio::test]
async fn expectations_are_of_the_requests_since_the_last_reset() {
    let mock = Mock::start(&["agent"]).await;
    mock.ask().await;
    mock.admin("POST", "/reset", "").await;
    mock.admin(
        "POST",
        "/expectations",
        r#"{"times": 1, "token_reread": true}"#,
    )
    .await;
    mock.admin("POST", "/rotate", "").await;
    mock.ask().await;
    for nothing in ["{}", r#"{"idle": false, "within": "5s"}"#] {
        let refusal = mock.try_admin("POST", "/wait", nothing).await;
        assert_eq!(refusal.status, Some(400), "{nothing}");
        assert!(refusal.body.contains("name requests, answers or idle"));
    }
    let wait = r#"{"requests": 1, "answers": 1, "idle": true, "within": "20s"}"#;
    mock.admin("POST", "/wait", wait).await;
    let verified = mock.admin("POST", "/verify", "").await;
    assert_eq!(
        verified,
        serde_json::json!({"failures": [], "forgotten": 0})
    );
    for (mock_kind, wrong, words) in [
        ("agent", "{}", "nothing is expected"),
        ("agent", "[1]", "cannot read the expectations"),
        (
            "agent",
            r#"{"patched": true}"#,
            "no expectation patched; it is one of webhook",
        ),
        (
            "agent",
            r#"{"paced": "0s"}"#,
            "0s is not a length of time here",
        ),
        ("eks", r#"{"token_reread": true}"#, "it is one of agent"),
        (
            "eks",
            r#"{"operation": "Nonsense", "times": 1}"#,
            "Nonsense is not an operation that the mock has",
        ),
        ("webhook", r#"{"signed": true}"#, "it is one of eks"),
    ] {
        let mock = Mock::start(&[mock_kind]).await;
        let answer = mock.try_admin("POST", "/expectations", wrong).await;
        assert_eq!(answer.status, Some(400));
        assert!(answer.body.contains(words), "{}", answer.body);
    }
}

#[tokio::test]
async fn every_route_of_the_document_is_there() {
    let mock = Mock::start(&["eks"]).await;
    let document = mock.admin("GET", "/openapi.json", "").await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if method == "parameters" {
                continue;
            }
            let method = method.to_uppercase();
            let answer = mock.try_admin(&method, path, "").await;
            let status = answer.status.unwrap();
            assert!(
                [200, 400, 404].contains(&status),
                "{method} {path}: {status}"
            );
            assert!(
                !answer.body.contains("nothing here"),
                "{method} {path}: {}",
                answer.body
            );
        }
        let wrong = mock.try_admin("PATCH", path, "").await;
        assert_eq!(wrong.status, Some(405), "{path}: {}", wrong.body);
    }
    let unknown = mock.try_admin("GET", "/fault", "").await;
    assert_eq!(unknown.status, Some(404));
    assert!(
        unknown.body.contains("expected GET /, GET /openapi.json, "),
        "{}",
        unknown.body
    );
}

#[tokio::test]
async fn a_cluster_is_set_up_from_outside() {
    let mock = Mock::start(&["eks"]).await;
    let association = r#"{"namespace": "shop", "service_account": "cart",
        "role_arn": "arn:aws:iam::111122223333:role/cart", "tags": {"team": "cart"}}"#;
    let id = mock.admin("POST", "/associations", association).await;
    let listed = mock.admin("GET", "/associations", "").await;
    assert_eq!(listed["associations"][0]["id"], id["id"]);
    assert_eq!(listed["associations"][0]["tags"]["team"], "cart");
    let role = r#"{"arn": "arn:aws:iam::111122223333:role/cart"}"#;
    mock.admin("PUT", "/roles", role).await;
    let roles = mock.admin("GET", "/roles", "").await;
    assert_eq!(roles["roles"][0], "arn:aws:iam::111122223333:role/cart");
    mock.admin(
        "PUT",
        "/visibility",
        r#"{"eks_auth": {"after": "5s"}, "api": "at_once"}"#,
    )
    .await;
    mock.admin(
        "PUT",
        "/issuer",
        r#"{"sign_with": "es256", "outage": true}"#,
    )
    .await;
    let path = format!("/associations/{}", id["id"].as_str().unwrap());
    mock.admin("DELETE", &path, "").await;
    assert_eq!(mock.try_admin("DELETE", &path, "").await.status, Some(404));
    let wrong = mock
        .try_admin("POST", "/associations", r#"{"namespace": "x"}"#)
        .await;
    assert!(
        wrong.body.contains("missing field `service_account`"),
        "{}",
        wrong.body
    );
    let agent = Mock::start(&["agent"]).await;
    let answer = agent.try_admin("GET", "/roles", "").await;
    assert_eq!(answer.status, Some(404));
    assert!(
        answer.body.contains("of the mock `eks` only"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn an_outcome_has_the_words_of_the_fault() {
    let mock = Mock::start(&["agent"]).await;
    for fault in [r#"{"reset":"in_body"}"#, r#"{"close":"in_headers"}"#] {
        mock.admin("POST", "/faults", fault).await;
        mock.ask().await;
        let requests = mock.requests().await;
        let ending = &requests.last().unwrap()["outcome"]["ending"];
        assert_eq!(ending.to_string(), fault);
    }
}

#[tokio::test]
async fn a_stall_lasts_until_the_faults_are_cleared() {
    let mock = Mock::start(&["agent"]).await;
    let stall = r#"{"stall": "before_headers", "always": true}"#;
    mock.admin("POST", "/faults", stall).await;
    let stalled = mock.ask();
    let cleared = async {
        while mock.requests().await.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(mock.requests().await[0]["outcome"].is_null());
        mock.admin("DELETE", "/faults", "").await;
    };
    let (answer, ()) = tokio::join!(stalled, cleared);
    assert_eq!(answer.status, Some(200));
}

#[tokio::test]
async fn an_invalid_fault_is_refused_with_the_remedy() {
    let mock = Mock::start(&["agent"]).await;
    for (method, path, body, status, expected) in [
        ("POST", "/faults", "{}", 400, "expected error, status"),
        ("POST", "/faults", "x", 400, "cannot read the fault"),
        (
            "POST",
            "/faults",
            r#"{"status": 99}"#,
            400,
            "expected 200 to 599",
        ),
        ("POST", "/clock", "{}", 400, "advance_seconds"),
        (
            "POST",
            "/gates/back",
            "",
            400,
            "no fault has a gate now; inject one with `until`",
        ),
        ("GET", "/nowhere", "", 404, "GET /requests"),
    ] {
        let answer = mock.try_admin(method, path, body).await;
        assert_eq!(answer.status, Some(status));
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(mock.ask().await.status, Some(200));
}

#[tokio::test]
async fn recorded_requests_contain_no_token() {
    let mock = Mock::start(&["agent", "--namespace", "shop", "--service-account", "cart"]).await;
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    let asked = mock.ask_at(&format!("?token={token}")).await;
    let seen = mock.requests().await;
    assert_eq!(seen[0]["pod"]["namespace"], "shop");
    assert_eq!(seen[0]["token_age"], 0);
    assert_eq!(seen[0]["outcome"]["status"], asked.status.unwrap());
    let all = serde_json::to_string(&seen).unwrap();
    pod_identity_testkit::assert_no_secrets(&all, &[&token]);
    assert!(all.contains("?token=redacted\""), "{all}");
}

#[tokio::test]
async fn a_rotation_replaces_the_token_of_the_pod() {
    let mock = Mock::start(&["agent"]).await;
    let before = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    mock.admin("POST", "/rotate", "").await;
    let after = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    assert_ne!(before, after);
    assert_eq!(mock.ask().await.status, Some(200));
}

#[tokio::test]
async fn the_clock_can_be_moved_and_a_reset_restores_everything() {
    let mock = Mock::start(&["agent"]).await;
    let a_day_on = r#"{"advance_seconds": 90000}"#;
    mock.admin("POST", "/clock", a_day_on).await;
    assert_eq!(mock.ask().await.status, Some(400), "the token has expired");
    mock.admin("POST", "/faults", r#"{"status": 503, "always": true}"#)
        .await;
    mock.admin("POST", "/reset", "").await;
    assert!(mock.requests().await.is_empty());
    assert_eq!(mock.ask().await.status, Some(200));
    assert_eq!(mock.requests().await.len(), 1);
}

#[tokio::test]
async fn a_fault_lasts_until_its_gate_is_released() {
    let mock = Mock::start(&["agent"]).await;
    let outage = r#"{"status": 503, "until": "it is back"}"#;
    for _ in 0..2 {
        mock.admin("POST", "/faults", outage).await;
        assert_eq!(mock.ask().await.status, Some(503));
        let other = mock.try_admin("POST", "/gates/back", "").await;
        assert!(other.body.contains("are it is back"), "{}", other.body);
        mock.admin("POST", "/gates/it%20is%20back", "").await;
        assert_eq!(mock.ask().await.status, Some(200));
    }
}

#[tokio::test]
async fn connections_are_refused_for_a_while_or_until_the_faults_are_cleared() {
    let mock = Mock::start(&["agent"]).await;
    let refuse = r#"{"refuse": "10m", "after": "1m"}"#;
    let minutes = async |count: u64| {
        let clock = format!(r#"{{"advance_seconds": {}}}"#, count * 60);
        mock.admin("POST", "/clock", &clock).await;
    };
    mock.admin("POST", "/faults", refuse).await;
    assert_eq!(mock.ask().await.status, Some(200));
    minutes(1).await;
    assert!(!mock.listens().await);
    minutes(10).await;
    assert_eq!(mock.ask().await.status, Some(200));

    mock.admin("POST", "/faults", r#"{"refuse": "10m"}"#).await;
    assert!(!mock.listens().await);
    mock.admin("DELETE", "/faults", "").await;
    assert_eq!(mock.ask().await.status, Some(200));
    minutes(11).await;
    assert!(mock.listens().await);
}

#[tokio::test]
async fn latency_delays_responses() {
    let mock = Mock::start(&["agent"]).await;
    mock.admin("POST", "/faults", r#"{"latency": "50ms"}"#)
        .await;
    let asked = tokio::time::Instant::now();
    assert_eq!(mock.ask().await.status, Some(200));
    assert!(asked.elapsed() >= Duration::from_millis(50));
}

/// Posts reviews of so many pods to the mock webhook, each with so much in it.
async fn admit(mock: &Mock, count: usize, padding: usize) {
    for number in 0..count {
        let review = serde_json::json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": number.to_string(),
                "namespace": "shop",
                "object": {
                    "metadata": {"name": "cart-0", "annotations": {"padding": "x".repeat(padding)}},
                    "spec": {"serviceAccountName": "cart", "containers": [{"name": "app"}]},
                },
            },
        });
        let headers = [("content-type", "application/json")];
        let uri = mock.text("/endpoint");
        let answer = soon(http::send("POST", uri, &headers, &review.to_string())).await;
        assert_eq!(answer.status, Some(200), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_program_says_how_many_requests_it_has_forgotten_and_verifies_none_of_them() {
    let arguments = ["webhook", "--plain", "--record-limit", "1"];
    let mock = Mock::start(&arguments).await;
    mock.admin("POST", "/expectations", r#"{"at_most": 30}"#)
        .await;
    admit(&mock, 30, 60_000).await;
    let seen = mock.admin("GET", "/requests", "").await;
    let kept = seen["requests"].as_array().unwrap();
    assert!((5..20).contains(&kept.len()), "{} are kept", kept.len());
    assert_eq!(seen["forgotten"], 30 - kept.len());
    assert_eq!(kept.last().unwrap()["uid"], "29");
    let verified = mock.admin("POST", "/verify", "").await;
    assert_eq!(verified["forgotten"], seen["forgotten"]);
    let failure = verified["failures"][0].as_str().unwrap();
    assert!(failure.contains("were forgotten"), "{failure}");

    mock.admin("DELETE", "/requests", "").await;
    admit(&mock, 1, 0).await;
    let wait = r#"{"requests": 1, "answers": 1, "within": "20s"}"#;
    mock.admin("POST", "/wait", wait).await;
    let seen = mock.admin("GET", "/requests", "").await;
    assert_eq!(seen["requests"].as_array().unwrap().len(), 1);
    assert_eq!(seen["forgotten"], 0);
    let verified = mock.admin("POST", "/verify", "").await;
    assert_eq!(
        verified,
        serde_json::json!({"failures": [], "forgotten": 0})
    );
}
