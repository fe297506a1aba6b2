//! Faults of the response: statuses, headers, bodies and their members.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use pod_identity_core::wire::{agent as wire, eks_auth::ErrorCode};
use pod_identity_testkit::{Defect, Fault, Field, MockAgent, ServiceError, TimeFormat};
use serde_json::Value;

use crate::common::NOW;
use crate::raw::{Raw, Seen, agent, ask};

async fn faulty(agent: &MockAgent, fault: impl Into<Fault>) -> Seen {
    agent.inject(fault);
    ask(agent).await
}

#[tokio::test]
async fn every_error_of_eks_auth_is_passed_on_with_the_official_text() {
    let agent = agent().await;
    for code in ErrorCode::ALL {
        let seen = faulty(&agent, code).await;
        assert_eq!(seen.status(), code.status());
        let fault = if code.status() < 500 {
            "client"
        } else {
            "server"
        };
        let (id, expected) = seen.text().split_once("]: ").unwrap();
        assert_eq!(id.len(), "[".len() + 36);
        assert!(
            expected.starts_with(&format!("({}): ", code.name())),
            "{expected}"
        );
        assert!(
            expected.ends_with(&format!(", fault: {fault}\n")),
            "{expected}"
        );
        assert_eq!(seen.header("X-Content-Type-Options"), "nosniff");
        // Core parses it again.
        let refusal = wire::ErrorResponse::read(seen.status(), &seen.body, None);
        assert_eq!(refusal.code.as_deref(), Some(code.name()));
    }
    let own = ServiceError::new(ErrorCode::AccessDenied).message("no, {}");
    assert!(
        faulty(&agent, own)
            .await
            .text()
            .ends_with("(AccessDeniedException): no, {}, fault: client\n")
    );
}

#[tokio::test]
async fn any_status_has_its_official_text_or_its_reason_phrase() {
    let agent = agent().await;
    for (status, part) in [
        (400, "(AccessDeniedException): "),
        (403, "Access Denied. Called agent through invalid address"),
        (404, "(ResourceNotFoundException): "),
        (405, "Method Not Allowed\n"),
        (418, "I'm a teapot\n"),
        (429, "Too Many Requests\n"),
        (500, "(InternalServerException): "),
        (502, "Bad Gateway\n"),
        (503, "(ServiceUnavailableException): "),
        (599, "no words\n"),
    ] {
        let seen = faulty(&agent, Fault::status(status)).await;
        assert_eq!(seen.status(), status);
        assert!(seen.text().contains(part), "{}", seen.text());
    }
    let seen = faulty(&agent, Fault::text(502, "upstream went away")).await;
    assert_eq!((seen.status(), seen.text()), (502, "upstream went away\n"));
}

#[tokio::test]
async fn a_header_is_added_to_any_response() {
    let agent = agent().await;
    agent.inject(Fault::retry_after(Duration::from_secs(2)));
    agent.inject(Fault::header(
        HeaderName::from_static("x-one"),
        "1".parse().unwrap(),
    ));
    let seen = faulty(&agent, Fault::status(503)).await;
    assert_eq!(
        (
            seen.status(),
            seen.header("Retry-After"),
            seen.header("X-One")
        ),
        (503, "2", "1")
    );
    let seen = faulty(&agent, Fault::retry_after(Duration::ZERO)).await;
    assert_eq!((seen.status(), seen.header("Retry-After")), (200, "0"));
    assert_eq!(ask(&agent).await.header("Retry-After"), "");
}

#[tokio::test]
async fn a_redirect_names_its_location() {
    let agent = agent().await;
    for status in [301, 302, 307, 308] {
        let seen = faulty(&agent, Fault::redirect(status, "http://10.0.0.7/")).await;
        assert_eq!(
            (seen.status(), seen.header("Location")),
            (status, "http://10.0.0.7/")
        );
    }
}

#[tokio::test]
async fn a_200_can_have_any_body() {
    let agent = agent().await;
    for (fault, content_type, body) in [
        (
            Fault::malformed(),
            "application/json",
            "{\"AccessKeyId\":\"ASIA",
        ),
        (Fault::empty(), "application/json", ""),
        (Fault::body("[]"), "application/json", "[]"),
        (
            Fault::html(),
            "text/html; charset=utf-8",
            "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n",
        ),
    ] {
        let seen = faulty(&agent, fault).await;
        assert_eq!(
            (seen.status(), seen.header("Content-Type"), seen.text()),
            (200, content_type, body)
        );
    }
    let own = Fault::respond(|request| {
        http::Response::new(Bytes::from(format!(
            "{} {}",
            request.method(),
            request.uri()
        )))
    });
    assert_eq!(faulty(&agent, own).await.text(), "GET /v1/credentials");
}

#[tokio::test]
async fn a_byte_order_mark_precedes_otherwise_valid_credentials() {
    let agent = agent().await;
    let seen = faulty(&agent, Fault::byte_order_mark()).await;
    let body = seen.body.strip_prefix(b"\xef\xbb\xbf").unwrap();
    wire::decode(body, None).unwrap();
}

#[tokio::test]
async fn a_compressed_body_has_its_encoding_header_and_the_credentials() {
    let agent = agent().await;
    let seen = faulty(&agent, Fault::gzip()).await;
    assert_eq!(seen.header("Content-Encoding"), "gzip");
    assert_eq!(seen.body[..3], [0x1f, 0x8b, 8]);
    // One stored block between a header of 10 and 5 and a trailer of 8 bytes.
    wire::decode(&seen.body[15..seen.body.len() - 8], None).unwrap();
}

#[tokio::test]
async fn an_oversize_body_is_one_byte_too_long_and_otherwise_valid() {
    let agent = agent().await;
    let seen = faulty(&agent, Fault::oversize()).await;
    assert_eq!(seen.body.len(), 64 * 1024 + 1);
    wire::decode(&seen.body, None).unwrap();
}

#[tokio::test]
async fn each_member_can_have_every_defect_and_the_others_are_unchanged() {
    let agent = agent().await;
    for field in Field::ALL {
        let (name, lower, upper) = {
            let name = field.name();
            (name, name.to_lowercase(), name.to_uppercase())
        };
        for (defect, found, value) in [
            (Defect::Missing, None, None),
            (Defect::Null, Some(name), Some(Value::Null)),
            (Defect::Empty, Some(name), Some(Value::from(""))),
            (Defect::WrongType, Some(name), Some(Value::from([7]))),
            (Defect::LowerCase, Some(lower.as_str()), None),
            (Defect::UpperCase, Some(upper.as_str()), None),
            (Defect::Renamed("Other".to_owned()), Some("Other"), None),
        ] {
            let body = faulty(&agent, Fault::field(field, defect.clone()))
                .await
                .json();
            let members = body.as_object().unwrap();
            assert_eq!(members.len(), if found.is_some() { 5 } else { 4 });
            for other in Field::ALL.into_iter().filter(|other| *other != field) {
                assert!(members[other.name()].is_string());
            }
            if let Some(found) = found {
                assert!(members.contains_key(found), "{field:?} {defect:?}");
            }
            if let Some(value) = value {
                assert_eq!(members[name], value, "{field:?} {defect:?}");
            }
        }
    }
}

#[tokio::test]
async fn two_members_of_a_success_can_have_defects() {
    let agent = agent().await;
    agent.inject(Fault::field(
        Field::Token,
        Defect::Renamed("SessionToken".to_owned()),
    ));
    agent.inject(Fault::field(
        Field::Expiration,
        Defect::Renamed("ExpiresAt".to_owned()),
    ));
    let seen = ask(&agent).await;
    let body = seen.json();
    assert!(body["SessionToken"].is_string() && body["ExpiresAt"].is_string());
    wire::decode(&seen.body, None).unwrap();

    agent.inject_next(2, Fault::field(Field::Token, Defect::Null));
    assert!(ask(&agent).await.json()["Token"].is_null());
    assert!(ask(&agent).await.json()["Token"].is_null());
    assert!(ask(&agent).await.json()["Token"].is_string());
}

#[tokio::test]
async fn an_expiration_can_have_any_time_and_any_format() {
    let agent = agent().await;
    for (fault, written) in [
        (
            Fault::expired_for(Duration::from_secs(60)),
            Value::from("2026-03-01T11:59:00Z"),
        ),
        (
            Fault::expires_in(Duration::ZERO),
            Value::from("2026-03-01T12:00:00Z"),
        ),
        (
            Fault::expires_in(Duration::from_secs(10)),
            Value::from("2026-03-01T12:00:10Z"),
        ),
        (
            Fault::expiration(TimeFormat::EpochSeconds),
            Value::from(1_772_388_000),
        ),
        (
            Fault::expiration(TimeFormat::Offset),
            Value::from("2026-03-01T20:00:00+02:00"),
        ),
        (
            Fault::expiration(TimeFormat::Nanoseconds),
            Value::from("2026-03-01T18:00:00.123456789Z"),
        ),
    ] {
        assert_eq!(faulty(&agent, fault).await.json()["Expiration"], written);
    }
    agent.inject(Fault::expiration(TimeFormat::Offset));
    let near = faulty(&agent, Fault::expires_in(Duration::from_secs(10))).await;
    assert_eq!(near.json()["Expiration"], "2026-03-01T14:00:10+02:00");
    let decoded = wire::decode(&near.body, None).unwrap();
    assert_eq!(decoded.expiration(), NOW + Duration::from_secs(10));
}

#[tokio::test]
async fn the_same_credentials_can_be_returned_again() {
    let agent = agent().await;
    agent.inject(Fault::same_again());
    let first = ask(&agent).await;
    let again = faulty(&agent, Fault::same_again()).await;
    assert_eq!(first.body, again.body);
    assert_ne!(ask(&agent).await.body, first.body);
    let served = agent.served();
    assert!(served[0] == served[1] && served[1] != served[2]);
}

#[tokio::test]
async fn the_debug_output_of_a_fault_contains_no_body_and_no_header() {
    for fault in [
        Fault::body("hunter2"),
        Fault::text(500, "hunter2"),
        Fault::redirect(302, "http://hunter2/"),
        Fault::header(HeaderName::from_static("x-a"), "hunter2".parse().unwrap()),
    ] {
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn faults_take_precedence_over_the_checks_of_the_agent() {
    let agent = agent().await;
    agent.inject(Fault::status(503));
    let mut raw = Raw::connect(&agent).await;
    raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status(), 503);
}
