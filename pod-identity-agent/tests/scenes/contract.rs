//! `GET /v1/credentials` as the official agent answers it, byte for byte, where the request is valid.

use std::time::Duration;

use http::Response;
use pod_identity_agent::Budget;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{Fault, ServiceError};

use crate::support::client::Request;
use crate::support::scene::Scene;
use crate::support::settings::Settings;
use crate::support::{HOUR, NOW};

#[tokio::test]
async fn credentials_are_five_keys_in_order_with_no_store() {
    let scene = Scene::start().await;
    let answer = scene.get(&scene.token()).await;

    let key = scene.eks.minted().remove(0);
    let secrets = scene.eks.secrets();
    let minted = |index: usize| secrets[secrets.len() - 2 + index].expose();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        format!(
            concat!(
                r#"{{"AccessKeyId":"{}","SecretAccessKey":"{}","Token":"{}","#,
                r#""AccountId":"111122223333","Expiration":"2026-03-01T18:00:00Z"}}"#
            ),
            key,
            minted(0),
            minted(1)
        )
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.header("content-length"),
        Some(answer.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn the_expiration_of_every_answer_ends_in_z() {
    let scene = Scene::start().await;
    for lifetime in [60, 3599, 12 * 3600] {
        scene
            .eks
            .inject(Fault::expires_in(Duration::from_secs(lifetime)));
        let answer = scene.get(&scene.token()).await;
        let expiration = answer.json()["Expiration"].as_str().unwrap().to_owned();
        assert_eq!(
            expiration,
            (NOW + Duration::from_secs(lifetime)).to_string()
        );
        assert!(
            expiration.ends_with('Z') && expiration.len() == 20,
            "{expiration}"
        );
    }
}

#[tokio::test]
async fn a_query_is_ignored_and_the_connection_stays_open() {
    let scene = Scene::start().await;
    let token = scene.token();
    let mut client = scene.connect().await;
    let first = client.ask(Request::with_token(&token)).await;
    let again = Request {
        path: "/v1/credentials?attempt=2",
        ..Request::with_token(&token)
    };
    assert_eq!(client.ask(again).await.key(), first.key());
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let scene = Scene::start().await;
    let token = scene.token();
    for path in [
        "/",
        "/v1/credentials/",
        "/v1/credentials/x",
        "/v1",
        "/V1/credentials",
        "/metrics",
        "/healthz",
        "/readyz",
    ] {
        let request = Request {
            path,
            ..Request::with_token(&token)
        };
        let answer = scene.ask(request).await;
        answer.assert_text(404, "404 page not found\n");
    }
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn the_fixed_and_the_bound_addresses_are_valid_hosts_in_every_spelling() {
    let scene = Scene::start().await;
    let token = scene.token();
    let bound = scene.address.to_string();
    for host in [
        "169.254.170.23",
        "169.254.170.23:80",
        "[fd00:ec2::23]",
        "[fd00:ec2::23]:80",
        "fd00:ec2::23",
        "127.0.0.1",
        &bound,
    ] {
        let request = Request {
            host,
            ..Request::with_token(&token)
        };
        assert_eq!(scene.ask(request).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn any_other_host_is_refused_and_quoted_without_its_port() {
    let scene = Scene::start().await;
    let token = scene.token();
    for (host, named) in [
        ("evil.example:80", "evil.example"),
        ("localhost", "localhost"),
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.170.23.evil.example", "169.254.170.23.evil.example"),
        ("[::1]:8080", "::1"),
        ("", ""),
    ] {
        let request = Request {
            host,
            ..Request::with_token(&token)
        };
        let text = format!(
            "Access Denied. Called agent through invalid address, please use either \
             [169.254.170.23 fd00:ec2::23] address not {named}\n"
        );
        scene.ask(request).await.assert_text(403, &text);
    }
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn an_absolute_target_is_checked_instead_of_the_host_header() {
    let scene = Scene::start().await;
    let token = scene.token();
    let ask = async |path, host| {
        let request = Request {
            path,
            host,
            ..Request::with_token(&token)
        };
        scene.ask(request).await
    };
    for path in [
        "http://169.254.170.23/v1/credentials",
        "http://169.254.170.23:80/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
    ] {
        assert_eq!(ask(path, "rebind.example").await.status, 200, "{path}");
    }
    let answer = ask("http://rebind.example/v1/credentials", "169.254.170.23").await;
    assert_eq!(answer.status, 403);
    let named = answer.body.strip_suffix(" address not rebind.example\n");
    assert!(named.is_some(), "{}", answer.body);
}

#[tokio::test]
async fn a_request_without_a_host_is_answered_400_except_of_http_1_0() {
    let scene = Scene::start().await;
    let token = scene.token();
    for (version, status, words) in [
        (
            "1.1",
            400,
            "400 Bad Request: missing required Host header\n",
        ),
        ("1.0", 403, " address not \n"),
    ] {
        let mut client = scene.connect().await;
        let request =
            format!("GET /v1/credentials HTTP/{version}\r\nAuthorization: {token}\r\n\r\n");
        client.send_bytes(request.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status);
        assert!(answer.body.ends_with(words), "{}", answer.body);
    }
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn two_host_headers_are_answered_400() {
    let scene = Scene::start().await;
    let mut client = scene.connect().await;
    let request = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nHost: 169.254.170.23\r\n\
         Authorization: {}\r\n\r\n",
        scene.token()
    );
    client.send_bytes(request.as_bytes()).await;
    let answer = client.answer().await;
    answer.assert_text(400, "400 Bad Request: too many Host headers\n");
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn extreme_settings_do_not_make_a_request_panic() {
    for (time, budget) in [
        (Duration::MAX, Budget::new(u32::MAX, f64::MAX)),
        (Duration::MAX, Budget::new(u32::MAX, f64::MIN_POSITIVE)),
        (Duration::ZERO, Budget::new(0, f64::NAN)),
    ] {
        let settings = Settings {
            answer_within: time,
            retention: time,
            pod_budget: budget,
            ..Settings::DEFAULT
        };
        let scene = Scene::here(settings, |agent| agent.node_budget(budget)).await;
        let token = scene.token();
        for _ in 0..3 {
            let answer = scene.get(&token).await;
            assert!(matches!(answer.status, 200 | 503), "{}", answer.body);
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_invalid_token_is_refused_without_an_exchange() {
    let scene = Scene::start().await;
    let (builder, now) = (scene.builder(), scene.now());
    let good = builder.mint(now);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let parsed = "Service account token cannot be parsed: ";
    let claims = "Service account token failed basic claim validations: ";
    for (token, prefix, reason) in [
        (String::new(), "Service account token cannot be empty", ""),
        (
            "garbage".into(),
            parsed,
            "token is malformed: token contains an invalid number of segments",
        ),
        (
            "Bearer x".into(),
            parsed,
            "token is malformed: token contains an invalid number of segments",
        ),
        (
            format!("Bearer {good}"),
            parsed,
            "token is malformed: could not base64 decode header",
        ),
        (
            "a.b".into(),
            parsed,
            "token is malformed: token contains an invalid number of segments",
        ),
        (
            format!("{good}="),
            parsed,
            "token is malformed: could not base64 decode signature",
        ),
        (
            format!("{signed}."),
            parsed,
            "token is unverifiable: it is not signed",
        ),
        // {"alg":"none"}
        (
            format!(
                "eyJhbGciOiJub25lIn0.{}.{signature}",
                signed.split_once('.').unwrap().1
            ),
            parsed,
            "token is unverifiable: it is not signed",
        ),
        // No `exp`: {"aud":["pods.eks.amazonaws.com"]}
        (
            format!(
                "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsicG9kcy5la3MuYW1hem9uYXdzLmNvbSJdfQ.{signature}"
            ),
            parsed,
            "token has invalid claims: exp claim is required",
        ),
        (builder.mint(now - 24 * HOUR), claims, "token is expired"),
        (
            builder.mint(now + Duration::from_secs(6)),
            claims,
            "token is not valid yet",
        ),
        (
            builder.clone().audience("sts.amazonaws.com").mint(now),
            claims,
            "token has an invalid audience",
        ),
    ] {
        let answer = scene.get(&token).await;
        answer.assert_text(400, &format!("{prefix}{reason}\n"));
    }
    let answer = scene.ask(Request::of("/v1/credentials")).await;
    answer.assert_text(400, "Service account token cannot be empty\n");
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn a_new_token_is_accepted_by_a_clock_that_is_a_few_seconds_slow() {
    let scene = Scene::start().await;
    let token = scene.builder().mint(scene.now() + Duration::from_secs(5));
    // EKS Auth has another clock.
    scene
        .eks
        .inject(Fault::respond(|_| Response::new(SESSION.to_owned())));
    assert_eq!(scene.get(&token).await.key(), "ASIAELSEWHERE");
}

#[tokio::test]
async fn a_refusal_of_eks_auth_is_passed_on_with_its_status_and_message() {
    let scene = Scene::start().await;
    for (code, status, expected) in [
        (
            ErrorCode::AccessDenied,
            400,
            "Unauthorized Exception! EKS does not have permissions to assume the associated role.",
        ),
        (
            ErrorCode::ExpiredToken,
            400,
            "The specified Kubernetes service account token is expired.",
        ),
        (
            ErrorCode::InvalidToken,
            400,
            "The specified Kubernetes service account token is invalid.",
        ),
        (
            ErrorCode::InvalidParameter,
            400,
            "The specified parameter is invalid.",
        ),
        (
            ErrorCode::InvalidRequest,
            400,
            "This request contains a semantic error.",
        ),
        (
            ErrorCode::ResourceNotFound,
            404,
            "The token included in the request has no service account role association for it.",
        ),
    ] {
        scene.eks.inject(refusal(status, code.name(), expected));
        let answer = scene.get(&scene.token()).await;
        let name = code.name();
        answer.assert_text(
            status,
            &format!("[req-0001]: ({name}): {expected}, fault: client\n"),
        );
    }
}

#[tokio::test]
async fn an_undocumented_error_code_is_passed_on_too() {
    let scene = Scene::start().await;
    let expected = "The security token included in the request is invalid.";
    scene
        .eks
        .inject(refusal(403, "UnrecognizedClientException", expected));
    scene.get(&scene.token()).await.assert_text(
        403,
        &format!("[req-0001]: (UnrecognizedClientException): {expected}, fault: client\n"),
    );
}

#[tokio::test]
async fn a_refusal_of_the_mock_has_a_request_id() {
    let scene = Scene::start().await;
    let stranger = scene.eks.issuer().token("shop", "stranger").mint(NOW);
    let answer = scene.get(&stranger).await;
    assert_eq!(answer.status, 404);
    let (id, rest) = answer.body.split_once("]: ").unwrap();
    assert_eq!(id.len(), "[".len() + 36, "{id}");
    assert!(rest.starts_with("(ResourceNotFoundException): "), "{rest}");
}

#[tokio::test]
async fn a_token_that_eks_auth_quotes_is_removed_from_the_message() {
    let scene = Scene::start().await;
    let token = scene.token();
    let echo = ServiceError::new(ErrorCode::InvalidToken).message(format!("No: {token}!"));
    scene.eks.inject(echo);
    let answer = scene.get(&token).await;
    assert!(
        answer
            .body
            .ends_with("(InvalidTokenException): No: <token>!, fault: client\n"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn only_get_is_allowed() {
    let scene = Scene::start().await;
    let token = scene.token();
    for method in ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        let request = Request {
            method,
            ..Request::with_token(&token)
        };
        let answer = scene.ask(request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET"), "{method}");
    }
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn headers_above_16_kib_are_refused_and_smaller_ones_accepted() {
    let scene = Scene::start().await;
    let at_limit = scene.get(&"x".repeat(15 * 1024)).await;
    assert_eq!(at_limit.status, 400, "an ordinary refusal");
    for size in [17 * 1024, 877 * 1024] {
        assert_eq!(scene.get(&"x".repeat(size)).await.status, 431, "{size}");
    }
    assert_eq!(scene.eks.request_count(), 0);
}

#[tokio::test]
async fn metrics_have_the_official_names() {
    let scene = Scene::start().await;
    let token = scene.token();
    scene.get(&token).await;
    scene.get(&token).await;
    scene.get("garbage").await;
    scene.eks.inject(ErrorCode::AccessDenied);
    scene.get(&scene.token()).await;
    let page = scene.exposition().await;
    for line in [
        r#"pod_identity_http_response{code="200"} 2"#,
        r#"pod_identity_http_response{code="400"} 2"#,
        r#"pod_identity_cache_state{state="hit"} 1"#,
        r#"pod_identity_cache_state{state="miss"} 1"#,
        r#"pod_identity_cache_errors{code="AccessDeniedException",type="eks_auth"} 1"#,
        r#"pod_identity_cache_errors{code="Malformed",type="token"} 1"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} in {page}");
    }
}

/// An error in its wire form, with a request id that is known.
fn refusal(status: u16, code: &str, expected: &str) -> Fault {
    let (code, body) = (code.to_owned(), format!(r#"{{"message":"{expected}"}}"#));
    Fault::respond(move |_request| {
        Response::builder()
            .status(status)
            .header("x-amzn-ErrorType", format!("{code}:http://internal/"))
            .header("x-amzn-RequestId", "req-0001")
            .body(body.clone())
            .unwrap()
    })
}

/// A success, as another region's clock would have it.
const SESSION: &str = concat!(
    r#"{"subject":{"namespace":"shop","serviceAccount":"cart"},"audience":"pods.eks.amazonaws.com","#,
    r#""podIdentityAssociation":{"associationArn":"arn:a","associationId":"a-1"},"#,
    r#""assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/cart/s","assumeRoleId":"AROA:s"},"#,
    r#""credentials":{"sessionToken":"t","secretAccessKey":"s","accessKeyId":"ASIAELSEWHERE","expiration":1772388000}}"#
);
