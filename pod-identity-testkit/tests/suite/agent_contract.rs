//! The official agent's answers to valid requests, byte for byte.

use std::time::Duration;

use pod_identity_core::{Credentials, Secret, Timestamp};
use pod_identity_testkit::{CredentialSource, Issuer, MockAgent};

use crate::common::NOW;
use crate::raw::{End, Raw, agent, ask, ask_with, at_rest, get};

fn credentials(expiration: Timestamp) -> Credentials {
    let secret = |text: &str| Secret::from(text.to_owned());
    Credentials::new(
        "ASIAEXAMPLE",
        secret("key/+="),
        secret("session"),
        expiration,
    )
    .with_account_id("111122223333")
}

async fn fixed(expiration: Timestamp) -> MockAgent {
    let (builder, _clock) = at_rest();
    let source = CredentialSource::fixed(credentials(expiration));
    builder.credentials(source).start().await.unwrap()
}

#[tokio::test]
async fn a_success_has_the_five_keys_in_their_order() {
    let agent = fixed(NOW + Duration::from_secs(6 * 3600)).await;
    let mut raw = Raw::connect(&agent).await;
    raw.ask(&agent).await;
    let body = concat!(
        r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"key/+=","Token":"session","#,
        r#""AccountId":"111122223333","Expiration":"2026-03-01T18:00:00Z"}"#
    );
    let expected = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw.bytes(expected.len()).await, expected.as_bytes());
    assert!(raw.at_hand().is_empty());
}

#[tokio::test]
async fn a_refusal_is_plain_text_with_a_final_newline_and_nosniff() {
    let agent = agent().await;
    let mut raw = Raw::connect(&agent).await;
    raw.send(&get("")).await;
    let expected = concat!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n",
        "X-Content-Type-Options: nosniff\r\nContent-Length: 38\r\n\r\n",
        "Service account token cannot be empty\n",
    );
    assert_eq!(raw.bytes(expected.len()).await, expected.as_bytes());
}

#[tokio::test]
async fn a_token_is_refused_with_the_official_text() {
    let agent = agent().await;
    let builder = Issuer::new().token("default", "app");
    let expired = builder.mint(NOW - Duration::from_secs(86_400));
    let early = builder.mint(NOW + Duration::from_secs(1));
    let parse = "Service account token cannot be parsed: token is malformed: ";
    let claims = "Service account token failed basic claim validations: ";
    let bearer = format!("Bearer {}", agent.token().expose());
    for (token, expected) in [
        (
            "x",
            format!("{parse}token contains an invalid number of segments"),
        ),
        ("a.b.c", format!("{parse}could not base64 decode header")),
        (&bearer, format!("{parse}could not base64 decode header")),
        (&expired, format!("{claims}token is expired")),
        (&early, format!("{claims}token is not valid yet")),
    ] {
        let seen = ask_with(&agent, token).await;
        assert_eq!(
            (seen.status(), seen.text()),
            (400, format!("{expected}\n").as_str())
        );
    }
    let mut raw = Raw::connect(&agent).await;
    raw.send("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\n\r\n")
        .await;
    assert_eq!(
        raw.answer().await.text(),
        "Service account token cannot be empty\n"
    );
}

#[tokio::test]
async fn a_host_is_that_of_the_agent_with_or_without_port_and_brackets() {
    let (builder, _clock) = at_rest();
    let agent = builder.allow_host("agent.internal").start().await.unwrap();
    let own = agent.address().to_string();
    let mut raw = Raw::connect(&agent).await;
    for (host, refused) in [
        ("169.254.170.23", None),
        ("169.254.170.23:80", None),
        ("[fd00:ec2::23]", None),
        ("[fd00:ec2::23]:80", None),
        ("fd00:ec2::23", None),
        (own.as_str(), None),
        ("Agent.Internal:80", None),
        ("localhost:80", Some("localhost")),
        ("169.254.170.2", Some("169.254.170.2")),
    ] {
        let token = agent.token();
        let token = token.expose();
        let request = format!(
            "GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n\r\n"
        );
        raw.send(&request).await;
        let seen = raw.answer().await;
        match refused {
            None => assert_eq!(seen.status(), 200, "{host}"),
            Some(named) => {
                let expected = format!(
                    "Access Denied. Called agent through invalid address, please use either \
                     [169.254.170.23 fd00:ec2::23] address not {named}\n"
                );
                assert_eq!((seen.status(), seen.text()), (403, expected.as_str()));
            }
        }
    }
}

#[tokio::test]
async fn a_request_has_one_host_header_and_that_of_an_absolute_target_comes_first() {
    let agent = agent().await;
    let token = agent.token();
    let token = token.expose();
    let (path, own) = ("/v1/credentials", "Host: 169.254.170.23\r\n");
    let twice = own.repeat(2);
    let twice = twice.as_str();
    let absolute = "http://169.254.170.23/v1/credentials";
    let other = "http://rebound.example/v1/credentials";
    let missing = "400 Bad Request: missing required Host header\n";
    let many = "400 Bad Request: too many Host headers\n";
    let denied = |host: &str| {
        format!(
            "Access Denied. Called agent through invalid address, please use either \
             [169.254.170.23 fd00:ec2::23] address not {host}\n"
        )
    };
    for (target, version, hosts, status, text) in [
        (path, "1.1", "", 400, Some(missing.to_owned())),
        (absolute, "1.1", "", 400, Some(missing.to_owned())),
        (path, "1.1", twice, 400, Some(many.to_owned())),
        (absolute, "1.1", twice, 400, Some(many.to_owned())),
        (path, "1.0", twice, 400, Some(many.to_owned())),
        (path, "1.0", "", 403, Some(denied(""))),
        (absolute, "1.0", "", 200, None),
        (absolute, "1.1", own, 200, None),
        (absolute, "1.1", "Host: rebound.example\r\n", 200, None),
        (other, "1.1", own, 403, Some(denied("rebound.example"))),
        ("/", "1.1", "", 404, Some("404 page not found\n".to_owned())),
    ] {
        let mut raw = Raw::connect(&agent).await;
        raw.send(&format!(
            "GET {target} HTTP/{version}\r\n{hosts}Authorization: {token}\r\n\r\n"
        ))
        .await;
        let seen = raw.answer().await;
        assert_eq!(seen.status(), status, "{target} {version} {hosts}");
        if let Some(text) = text {
            assert_eq!(seen.text(), text, "{target} {version} {hosts}");
        }
    }
    let mut raw = Raw::connect(&agent).await;
    raw.send("POST /v1/credentials HTTP/1.1\r\n\r\n").await;
    assert_eq!(raw.answer().await.status(), 405);
}

#[tokio::test]
async fn other_paths_are_not_found_and_other_methods_not_allowed() {
    let agent = agent().await;
    for target in ["/", "/v1/credentials/", "/v1", "/healthz"] {
        let mut raw = Raw::connect(&agent).await;
        raw.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        let seen = raw.answer().await;
        assert_eq!((seen.status(), seen.text()), (404, "404 page not found\n"));
    }
    let mut raw = Raw::connect(&agent).await;
    raw.send("POST /v1/credentials HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        .await;
    let (bytes, end) = raw.rest().await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nAllow: GET\r\n") && text.contains("\r\nConnection: close\r\n"));
    assert_eq!(end, End::Fin);
}

#[tokio::test]
async fn a_query_does_not_change_the_path() {
    let agent = agent().await;
    let mut raw = Raw::connect(&agent).await;
    let request = get(agent.token().expose()).replace("credentials", "credentials?a=b");
    raw.send(&request).await;
    assert_eq!(raw.answer().await.status(), 200);
    assert_eq!(agent.requests()[0].path, "/v1/credentials?a=b");
}

#[tokio::test]
async fn credentials_with_15_seconds_or_less_are_not_served() {
    for (left, status) in [(16, 200), (15, 500), (10, 500)] {
        let agent = fixed(NOW + Duration::from_secs(left)).await;
        let seen = ask(&agent).await;
        assert_eq!(seen.status(), status);
        if status == 500 {
            let expected = format!(
                "fetched credentials are expired or will expire within the next {left}.00 seconds\n"
            );
            assert_eq!(seen.text(), expected);
        }
    }
}

#[tokio::test]
async fn the_official_limiter_allows_a_burst_of_500_and_then_1000_per_second() {
    let (builder, clock) = at_rest();
    let agent = builder.limited().start().await.unwrap();
    let mut raw = Raw::connect(&agent).await;
    let mut statuses = Vec::new();
    for _ in 0..502 {
        raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        statuses.push(raw.answer().await.status());
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 404).count(),
        500
    );
    let seen = ask(&agent).await;
    assert_eq!((seen.status(), seen.text()), (429, "Too Many Requests\n"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&agent).await.status(), 200);
    assert_eq!(ask(&agent).await.status(), 429);
}

#[tokio::test]
async fn invalid_http_is_refused_and_not_recorded() {
    let agent = agent().await;
    let mut raw = Raw::connect(&agent).await;
    raw.send("hello\r\n\r\n").await;
    let (bytes, end) = raw.rest().await;
    assert!(bytes.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert_eq!((end, agent.request_count()), (End::Fin, 0));
}

#[tokio::test]
async fn a_connection_serves_many_requests_even_pipelined_ones() {
    let agent = agent().await;
    let mut raw = Raw::connect(&agent).await;
    let token = agent.token();
    let request = get(token.expose());
    raw.send(&format!("{request}{request}{request}")).await;
    for _ in 0..3 {
        assert_eq!(raw.answer().await.status(), 200);
    }
    raw.send(&request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
        .await;
    let (bytes, end) = raw.rest().await;
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("\r\nConnection: close\r\n")
    );
    assert_eq!((end, agent.connection_count()), (End::Fin, 1));
}
