//! The webhook's recorder, faults and expectations.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use pod_identity_testkit::{Defect, Fault, MockWebhook, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::webhook_server::{JSON, config, plain, pod, post, review, send, tls};

#[tokio::test]
async fn a_review_is_recorded_with_its_pod_and_its_patch() {
    let webhook = plain().await;
    webhook.expect().times(2).single_flight();
    for account in ["cart", "other"] {
        let review = review("v1", "shop", &pod(account));
        post(&webhook, JSON, review.to_string()).await;
    }
    let requests = webhook.requests();
    assert_eq!(requests[0].namespace.as_deref(), Some("shop"));
    assert_eq!(requests[0].service_account.as_deref(), Some("cart"));
    assert_eq!(requests[0].pod.as_deref(), Some("cart-0"));
    assert!(!requests[0].patch.as_ref().unwrap().is_empty());
    assert!(requests[1].patch.as_ref().unwrap().is_empty());
    assert_eq!(
        requests[0].review.as_ref().unwrap()["kind"],
        "AdmissionReview"
    );
    assert_eq!(requests[0].outcome.as_ref().unwrap().status, Some(200));
    webhook.verify();
    webhook.expect().patched();
    let panic = panic::catch_unwind(AssertUnwindSafe(|| drop(webhook))).unwrap_err();
    let words = panic.downcast_ref::<String>().unwrap();
    assert!(words.contains("mock webhook at 127.0.0.1:"), "{words}");
    assert!(words.contains("request 2 was not patched"), "{words}");
}

#[tokio::test]
async fn it_fails_as_ordered() {
    let webhook = plain().await;
    webhook.inject(Fault::status(500));
    webhook.inject(Fault::field("response.patch", Defect::Missing));
    webhook.inject(Fault::text(502, "bad gateway").pod("cart-0").nth(3));
    let body = review("v1", "shop", &pod("cart")).to_string();
    assert_eq!(post(&webhook, JSON, body.clone()).await.status, 500);
    let second = post(&webhook, JSON, body.clone()).await.json();
    assert_eq!(second["response"]["allowed"], true);
    assert!(second["response"].get("patch").is_none());
    let third = post(&webhook, JSON, body.clone()).await;
    assert_eq!((third.status, third.body.trim()), (502, "bad gateway"));
    assert_eq!(post(&webhook, JSON, body).await.status, 200);
}

#[tokio::test]
async fn a_connection_breaks_within_the_answer_over_tls_too() {
    let webhook = MockWebhook::start(config()).await;
    webhook.inject(Fault::close(Stage::InBody));
    webhook.inject(Fault::reset(Stage::InHeaders));
    let body = review("v1", "shop", &pod("cart")).to_string();
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for (end, whole) in [("in the body", true), ("in the head", false)] {
        let mut stream = tls(&webhook, "localhost").await.unwrap();
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let error = stream.read_to_end(&mut received).await;
        error.expect_err(end);
        let received = String::from_utf8(received).unwrap();
        assert_eq!(received.contains("\r\n\r\n"), whole, "{end}: {received}");
    }
    let stream = tls(&webhook, "localhost").await.unwrap();
    assert_eq!(send(stream, "/mutate", JSON, body).await.status, 200);
}

#[test]
fn it_serves_while_the_test_blocks() {
    let webhook = MockWebhook::builder(config())
        .plain()
        .start_blocking()
        .unwrap();
    let body = review("v1", "shop", &pod("cart")).to_string();
    let mut stream = std::net::TcpStream::connect(webhook.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let request = format!(
        "POST /mutate HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let answer = std::io::read_to_string(&stream).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nDate: "), "{answer}");
    webhook.wait_for_answers(1);
    webhook.stop();
    std::net::TcpStream::connect(webhook.address()).unwrap_err();
    webhook.restart().unwrap();
}

#[tokio::test]
async fn what_only_other_mocks_have_is_refused() {
    let webhook = plain().await;
    for (fault, words) in [
        (
            Fault::error("ThrottlingException"),
            "the mock webhook has no fault error",
        ),
        (
            Fault::same_again(),
            "the mock webhook has no fault same_again",
        ),
        (
            Fault::field("response.pach", Defect::Null),
            "response.pach is not a member of the webhook's success; expected one of apiVersion",
        ),
    ] {
        let panic = panic::catch_unwind(AssertUnwindSafe(|| webhook.inject(fault))).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains(words));
    }
}
