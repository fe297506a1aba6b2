//! Answers that are odd and mean something, beside those that mean nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::{Notes, Pod, SESSION_TOKEN, Script, Step, VirtualClock, good_body, hours};
use pod_identity_provider::{Event, FetchError};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn an_odd_success_is_used() {
    let account = Some("111122223333");
    for (from, to, account) in [
        (r#""111122223333""#, "111122223333", None),
        (r#""111122223333""#, "true", None),
        (r#""111122223333""#, r#"{"id":"111122223333"}"#, None),
        (r#""111122223333""#, r#"["111122223333"]"#, None),
        (
            r#""AccountId""#,
            r#""SessionToken":null,"ExpiresAt":7,"AccountId""#,
            account,
        ),
        ("00:00:00Z", "00:00:00+0000", account),
        ("00:00:00Z", "05:30:00+0530", account),
        (
            r#"{"AccessKeyId""#,
            r#"{"Code":"Success","AccessKeyId""#,
            account,
        ),
    ] {
        let body = good_body();
        assert!(body.contains(from));
        let pod = Pod::answered(200, body.replacen(from, to, 1)).await;
        let credentials = pod.provider().credentials().await.unwrap();
        assert_eq!(credentials.access_key_id(), "ASIAEXAMPLE", "{to}");
        assert_eq!(credentials.session_token().expose(), SESSION_TOKEN, "{to}");
        assert_eq!(credentials.account_id(), account, "{to}");
        let expiration = credentials.expiration().to_string();
        assert_eq!(expiration, "2099-01-01T00:00:00Z", "{to}");
        assert_eq!(pod.agent.request_count(), 1, "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_success_is_a_refusal_with_its_message_and_is_not_retried() {
    for (body, message) in [
        (
            r#"{"Code":"AccessDenied","Message":"no role"}"#.to_owned(),
            "AccessDenied: no role",
        ),
        (
            r#"{"__type":"AccessDenied","message":"no role"}"#.to_owned(),
            "AccessDenied: no role",
        ),
        (r#"{"message":"no role"}"#.to_owned(), "no role"),
        (
            good_body().replacen('{', r#"{"Code":"Failed","#, 1),
            "Failed",
        ),
    ] {
        let pod = Pod::answered(200, body).await;
        let error = pod.provider().credentials().await.unwrap_err();
        let FetchError::Refused { response, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(response.to_string(), format!("HTTP 200: {message}"));
        assert_eq!(pod.agent.request_count(), 1, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_of_a_wrong_type_is_named() {
    let body = good_body().replace(r#""2099-01-01T00:00:00Z""#, "4070908800");
    let pod = Pod::answered(200, body).await;
    assert_eq!(
        pod.complaint().await,
        "the answer cannot be used: Expiration is a number, not a text"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_header_may_have_is_named_before_a_signer_panics_at_it() {
    for (member, character) in [
        ("AccessKeyId", r"\n"),
        ("AccessKeyId", r"\u0000"),
        ("SecretAccessKey", " "),
        ("Token", "\u{fc}"),
    ] {
        let (start, end) = (
            format!("\"{member}\":\""),
            format!("\"{member}\":\"{character}"),
        );
        let body = good_body();
        assert!(body.contains(&start));
        let body = body.replacen(&start, &end, 1);
        let pod = Pod::answered(200, body).await;
        assert_eq!(
            pod.complaint().await,
            format!(
                "the answer cannot be used: {member} has a line end, a space or another character that no key has"
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_notified_of_invalidated_and_dropped_sets() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 | 2 => Step::Fresh(hours(6)),
        _ => Step::Status(
            404,
            r#"{"code":"ResourceNotFoundException","message":"gone"}"#,
        ),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    provider.warm_up().await.unwrap();
    provider.invalidate("ASIAOTHER");
    let invalidated = |event: &Event| matches!(event, Event::Invalidated { access_key_id, .. } if access_key_id == "ASIA1");
    assert_eq!(notes.count(invalidated), 0, "it is not held");
    provider.invalidate("ASIA1");
    assert_eq!(notes.count(invalidated), 1);
    sleep(hours(7)).await;
    let dropped = notes.count(|event| {
        matches!(event, Event::Dropped { access_key_id, error: Some(error), .. }
            if access_key_id == "ASIA2" && error.to_string().contains("gone"))
    });
    assert_eq!(dropped, 1);
    assert!(provider.snapshot().is_none());
}
