//! The container-credentials rules of the AWS SDKs: each test quotes the rule that it shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Names, Pod, SECRET_KEY, SESSION_TOKEN, body, chain, good_body};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Response};
use pod_identity_provider::{
    AuthorizationTokenError, Builder, ConfigError, Endpoint, FetchError, PodIdentityProvider,
    Secret,
};
use pod_identity_testkit::{Fault, MockAgent, ProjectedVolume, TokenPolicy, assert_no_secrets};

const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

fn from(env: &[(&str, &str)]) -> PodIdentityProvider {
    let env: HashMap<_, _> = env
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    PodIdentityProvider::from_lookup(|name| env.get(name).cloned())
}

/// An agent that knows any token, and none.
async fn agent() -> MockAgent {
    let agent = MockAgent::builder().token_policy(TokenPolicy::Any);
    agent.start().await.unwrap()
}

async fn error(provider: &PodIdentityProvider) -> FetchError {
    provider.credentials().await.unwrap_err()
}

/// What came in `Authorization`, request by request.
fn tokens(agent: &MockAgent) -> Vec<Option<String>> {
    let requests = agent.requests();
    let tokens = requests.iter().map(|request| token(&request.headers));
    tokens.map(|token| token.map(str::to_owned)).collect()
}

fn sent<const N: usize>(tokens: [&str; N]) -> [Option<String>; N] {
    tokens.map(|token| Some(token.to_owned()))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)
        .map(|token| token.to_str().unwrap())
}

// "The query is kept verbatim."
#[tokio::test]
async fn the_request_is_what_the_agent_expects() {
    let agent = agent().await;
    let uri = format!("{}?a=1&b=%2F", agent.uri());
    let provider = from(&[(FULL_URI, &uri), (TOKEN, "header.claims.signature")]);
    provider.credentials().await.unwrap();
    let [request] = &agent.requests()[..] else {
        panic!("one request")
    };
    assert_eq!(request.method, "GET");
    assert_eq!(request.path, "/v1/credentials?a=1&b=%2F");
    assert_eq!(request.host, Some(agent.address().to_string()));
    assert_eq!(
        token(&request.headers),
        Some("header.claims.signature"),
        "raw, no Bearer"
    );
    assert_eq!(request.headers["accept"], "application/json");
    assert_eq!(request.headers.len(), 3, "{request:?}");
}

// "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI wins over AWS_CONTAINER_CREDENTIALS_FULL_URI; it must start
// with / and is resolved against http://169.254.170.2"
#[tokio::test]
async fn a_relative_uri_wins_over_a_full_one() {
    let provider = from(&[
        (RELATIVE_URI, "credentials"),
        (FULL_URI, "http://127.0.0.1/"),
    ]);
    let error = error(&provider).await;
    assert!(matches!(error, FetchError::Configuration(_)));
    assert_eq!(
        error.to_string(),
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must start with a slash: it is a path on http://169.254.170.2"
    );
    let provider = from(&[(RELATIVE_URI, "/v2/credentials"), (FULL_URI, "nonsense")]);
    assert!(
        format!("{provider:?}").contains("http://169.254.170.2/…"),
        "{provider:?}"
    );
}

// "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE wins over AWS_CONTAINER_AUTHORIZATION_TOKEN."
#[tokio::test]
async fn a_token_file_wins_over_a_token() {
    let agent = agent().await;
    let volume = ProjectedVolume::new().unwrap();
    volume.write("from.the.file").unwrap();
    let path = volume.token_path().to_str().unwrap();
    let provider = from(&[
        (FULL_URI, &agent.uri()),
        (TOKEN, "from.the.variable"),
        (TOKEN_FILE, path),
    ]);
    provider.credentials().await.unwrap();
    assert_eq!(tokens(&agent), sent(["from.the.file"]));
}

// "The file is read for every fetch, through the path as given (kubelet swaps a ..data symlink; never
// cache the resolved path)."
#[tokio::test]
async fn a_rotated_token_is_used_for_the_next_fetch() {
    let pod = Pod::with_any_token().await;
    let volume = ProjectedVolume::new().unwrap();
    volume.write("one").unwrap();
    let provider = pod
        .builder()
        .token_file(volume.token_path())
        .build()
        .unwrap();
    provider.credentials().await.unwrap();
    volume.write("two").unwrap();
    provider.refresh_now().await.unwrap();
    assert_eq!(tokens(&pod.agent), sent(["one", "two"]));
}

// "A blank variable is an unset one."
#[tokio::test]
async fn a_blank_variable_is_an_unset_one() {
    let agent = agent().await;
    let provider = from(&[
        (RELATIVE_URI, " "),
        (FULL_URI, &agent.uri()),
        (TOKEN_FILE, ""),
        (TOKEN, "\t"),
    ]);
    provider.credentials().await.unwrap();
    assert_eq!(tokens(&agent), [None]);
}

// "No URI variable: not configured, so that a chain goes on, even if a token variable is set.
// Configured but failing is never 'not configured'."
#[tokio::test]
async fn a_token_without_a_uri_is_not_configured() {
    for env in [
        &[][..],
        &[(TOKEN_FILE, "/no/such/file")],
        &[(TOKEN, "text")],
        &[(FULL_URI, "")],
    ] {
        assert!(
            matches!(error(&from(env)).await, FetchError::NotConfigured),
            "{env:?}"
        );
        assert!(from(env).snapshot().is_none());
        assert!(matches!(
            from(env).state().last_error,
            Some(FetchError::NotConfigured)
        ));
    }
    let built = PodIdentityProvider::builder().environment(|_| None).build();
    assert!(built.is_err_and(|error| error.is_not_configured()));
}

// "http: loopback (127.0.0.0/8, ::1), 169.254.170.2, 169.254.170.23, fd00:ec2::23, after undoing
// IPv4-mapped IPv6." "Any other scheme, user info or a fragment: invalid configuration, naming the
// variable and what is allowed."
#[tokio::test]
async fn a_disallowed_endpoint_is_named_with_its_variable_and_never_contacted() {
    for (uri, said) in [
        (
            "http://10.0.0.7/",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI points at 10.0.0.7: plain http is only allowed to loopback",
        ),
        (
            "http://[::ffff:10.0.0.7]/",
            "points at ::ffff:10.0.0.7: plain http is only allowed to loopback",
        ),
        (
            "http://169.254.169.254/",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI points at 169.254.169.254",
        ),
        (
            "ftp://127.0.0.1/",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI has a scheme other than http and https",
        ),
        (
            "http://user:hunter2@127.0.0.1/",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI holds user information",
        ),
        (
            "http://127.0.0.1/#x",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI holds a fragment",
        ),
        (
            "/v1/credentials",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI names no host",
        ),
    ] {
        let error = error(&from(&[(FULL_URI, uri)])).await;
        assert!(
            matches!(error, FetchError::Configuration(_)),
            "{uri}: {error}"
        );
        assert!(error.to_string().contains(said), "{uri}: {error}");
        assert_no_secrets(&chain(&error), &["hunter2"]);
        assert!(!error.is_retryable());
    }
}

/// A pod that knows its agent by name, and a provider that resolves the name like this.
async fn named(names: Arc<Names>) -> (Pod, PodIdentityProvider) {
    let pod = Pod::with(|agent| agent.allow_host("agent.internal")).await;
    let port = pod.agent.address().port();
    let uri = format!("http://agent.internal:{port}/v1/credentials");
    let endpoint = Endpoint::parse(&uri).unwrap();
    let provider = pod.builder().endpoint(endpoint).resolver(names).build();
    (pod, provider.unwrap())
}

// "A host name: resolve it …; connect to the vetted address, keep the URI's host in Host; resolve again
// for the next fetch"
#[tokio::test]
async fn a_host_name_is_resolved_for_every_fetch_and_stays_in_host() {
    let names = Names::answering([Ok(&["::1", "127.0.0.1"][..]), Ok(&["127.0.0.1"])]);
    let (pod, provider) = named(names.clone()).await;
    provider.credentials().await.unwrap();
    provider.refresh_now().await.unwrap();
    assert!(names.is_used_up(), "asked twice");
    let host = format!("agent.internal:{}", pod.agent.address().port());
    let requests = pod.agent.requests();
    let hosts: Vec<_> = requests.iter().map(|request| &request.host).collect();
    assert_eq!(hosts, [&Some(host.clone()), &Some(host)]);
}

// "The answer must be non-empty and every address allowed"
#[tokio::test]
async fn a_host_name_with_one_disallowed_address_is_never_contacted() {
    let (pod, provider) = named(Names::answering([Ok(&["127.0.0.1", "10.0.0.7"][..])])).await;
    let error = error(&provider).await;
    assert!(matches!(error, FetchError::Configuration(_)));
    assert!(
        error
            .to_string()
            .contains("agent.internal (10.0.0.7): plain http is only allowed"),
        "{error}"
    );
    assert_eq!(pod.agent.connection_count(), 0);
}

// "Cache no failure."
#[tokio::test(start_paused = true)]
async fn a_failed_resolution_is_not_cached() {
    let flap = || Err(io::Error::other("no such host"));
    let names = [
        flap(),
        Ok(&[][..]),
        flap(),
        flap(),
        flap(),
        Ok(&["127.0.0.1"]),
    ];
    let names = Names::answering(names);
    let (_pod, provider) = named(names).await;
    let failed = error(&provider).await;
    assert_eq!(
        failed.to_string(),
        "agent.internal cannot be resolved: no such host"
    );
    provider.credentials().await.unwrap();

    let (_pod, provider) = named(Names::answering([(); 5].map(|()| Ok(&[][..])))).await;
    assert_eq!(
        error(&provider).await.to_string(),
        "agent.internal cannot be resolved: it has no address"
    );
}

#[tokio::test]
async fn localhost_is_resolved_by_the_system() {
    let pod = Pod::with(|agent| agent.allow_host("localhost")).await;
    let uri = pod.agent.uri().replace("127.0.0.1", "localhost");
    let endpoint = Endpoint::parse(&uri).unwrap();
    let provider = pod.builder().endpoint(endpoint).build().unwrap();
    provider.credentials().await.unwrap();
}

// "Token text: trim trailing ASCII whitespace, then refuse any other control byte."
#[tokio::test]
async fn a_trailing_newline_is_not_part_of_the_token() {
    let pod = Pod::with_any_token().await;
    let volume = ProjectedVolume::new().unwrap();
    volume.write("header.claims.signature \r\n\n").unwrap();
    for builder in [
        pod.builder().token_file(volume.token_path()),
        pod.builder().token(Secret::from("by.hand\n".to_owned())),
    ] {
        builder.build().unwrap().credentials().await.unwrap();
    }
    assert_eq!(
        tokens(&pod.agent),
        sent(["header.claims.signature", "by.hand"])
    );
}

// "A missing, unreadable or empty file is an error that names the path; never send a request without
// the token, never panic."
#[tokio::test]
async fn a_token_file_that_cannot_be_used_names_its_path_and_nothing_is_sent() {
    let pod = Pod::start().await;
    let volume = ProjectedVolume::new().unwrap();
    let path = volume.token_path().display().to_string();
    let cases: [(&[u8], &str); 5] = [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo", "holds bytes that no header may carry"),
        (b"\xff\xfe", "holds bytes that no header may carry"),
        (&[b'x'; 70_000], "is larger than 64 KiB"),
    ];
    for (content, said) in cases {
        volume.write(content).unwrap();
        let error = error(&pod.builder().token_file(&path).build().unwrap()).await;
        assert!(matches!(error, FetchError::Token(_)));
        assert!(
            error
                .to_string()
                .starts_with(&format!("token file {path}: ")),
            "{error}"
        );
        assert!(error.to_string().contains(said), "{error}");
    }
    volume.remove().unwrap();
    let missing = error(&pod.builder().token_file(&path).build().unwrap()).await;
    assert!(
        missing
            .to_string()
            .contains("does not exist; is the projected token volume mounted"),
        "{missing}"
    );
    let directory = error(
        &pod.builder()
            .token_file(volume.directory())
            .build()
            .unwrap(),
    )
    .await;
    assert!(
        directory.to_string().contains("is a directory"),
        "{directory}"
    );
    // Root reads everything, so that an unreadable file needs a loop of links to be one for every user.
    let knot = volume.directory().join("knot");
    std::os::unix::fs::symlink(&knot, &knot).unwrap();
    let unreadable = error(&pod.builder().token_file(&knot).build().unwrap()).await;
    assert!(
        unreadable.to_string().contains("cannot be read"),
        "{unreadable}"
    );
    assert_eq!(pod.agent.connection_count(), 0);
}

#[test]
fn a_token_variable_that_does_not_fit_a_header_is_an_invalid_configuration() {
    let lookup = |name: &str| match name {
        FULL_URI => Some("http://127.0.0.1/".to_owned()),
        TOKEN => Some("one\ntwo".to_owned()),
        _ => None,
    };
    let error = PodIdentityProvider::builder()
        .environment(lookup)
        .build()
        .unwrap_err();
    let problem = AuthorizationTokenError::NotText;
    assert_eq!(
        error,
        ConfigError::Token {
            origin: TOKEN,
            problem
        }
    );
    assert_eq!(
        error.to_string(),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN is not a token: it holds bytes that no header may carry"
    );
}

// "Token text follows one rule wherever it comes from."
#[tokio::test]
async fn a_token_is_accepted_from_a_file_exactly_if_it_is_from_a_variable_and_from_code() {
    let agent = agent().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let too_large = "a".repeat(64 * 1024 + 1);
    for (text, problem) in [
        ("token", None),
        ("token \t\r\n", None),
        (&too_large[1..], None),
        ("one\ntwo", Some("is not a token")),
        ("one\0", Some("is not a token")),
        ("\u{feff}token", Some("is not a token")),
        (&too_large, Some("is larger than 64 KiB")),
    ] {
        std::fs::write(&path, text).unwrap();
        let variable = |name: &str| (name == TOKEN).then(|| text.to_owned());
        let code = PodIdentityProvider::builder().token(text.to_owned().into());
        let endpoint = Endpoint::parse(&agent.uri()).unwrap();
        let error_of = |builder: Builder| async {
            match builder.endpoint(endpoint.clone()).build() {
                Ok(provider) => provider.credentials().await.err().map(|it| it.to_string()),
                Err(error) => Some(error.to_string()),
            }
        };
        let file = PodIdentityProvider::builder().token_file(&path);
        for builder in [
            file,
            PodIdentityProvider::builder().environment(variable),
            code,
        ] {
            let error = error_of(builder).await;
            match problem {
                Some(problem) => assert!(error.unwrap().contains(problem)),
                None => assert_eq!(error, None),
            }
        }
    }
}

// "Never use a proxy from the environment" — "The SDK's own client honours HTTP_PROXY here and hands the
// token to the proxy."
#[tokio::test]
async fn the_process_environment_is_read_and_no_proxy_in_it_is_used() {
    if crate::support::is_child() {
        PodIdentityProvider::from_env().credentials().await.unwrap();
        return;
    }
    let (agent, proxy) = (MockAgent::start().await, MockAgent::start().await);
    let mut env = agent.env();
    for variable in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        env.push((variable, format!("http://{}", proxy.address())));
    }
    crate::support::run_in_child(
        "rules::the_process_environment_is_read_and_no_proxy_in_it_is_used",
        env,
    )
    .await;
    assert_eq!(agent.served().len(), 1);
    assert_eq!(proxy.connection_count(), 0);
}

// "Response: keys as above, case-insensitive; also SessionToken, ExpiresAt, AccountID; unknown keys
// ignored; Expiration with Z, fraction, or offset accepted"
#[tokio::test]
async fn every_published_form_of_the_response_is_accepted() {
    for answer in [
        body("ASIA1", "2099-01-01T00:00:00Z"),
        body("ASIA1", "2099-01-01T02:00:00.000+02:00"),
        format!(
            r#"{{"accesskeyid":"ASIA1","SECRETACCESSKEY":"{SECRET_KEY}","SessionToken":"{SESSION_TOKEN}",
            "AccountID":"111122223333","ExpiresAt":"2099-01-01T00:00:00.5Z","RoleArn":null,"Code":"Success"}}"#
        ),
    ] {
        let pod = Pod::answered(200, answer).await;
        let credentials = pod.provider().credentials().await.unwrap();
        assert_eq!(credentials.access_key_id(), "ASIA1");
        assert_eq!(credentials.secret_access_key().expose(), SECRET_KEY);
        assert_eq!(credentials.session_token().expose(), SESSION_TOKEN);
        assert_eq!(credentials.account_id(), Some("111122223333"));
        assert_eq!(credentials.expiration().as_unix_secs(), 4_070_908_800);
    }
}

// "Missing or empty key id, secret, token, or expiration is malformed."
#[tokio::test(start_paused = true)]
async fn an_incomplete_response_is_malformed_and_never_quoted() {
    let whole = good_body();
    for (broken, said) in [
        (
            whole.replace("AccessKeyId", "Other"),
            "AccessKeyId is missing or empty",
        ),
        (
            whole.replace(SECRET_KEY, ""),
            "SecretAccessKey is missing or empty",
        ),
        (
            whole.replace(SESSION_TOKEN, ""),
            "Token is missing or empty",
        ),
        (
            whole.replace("Expiration", "Other"),
            "Expiration is missing or empty",
        ),
        (
            whole.replace("2099", "soon"),
            "Expiration is not an RFC 3339 date and time",
        ),
        (
            whole.replace("2099", "2020"),
            "credentials are expired or will expire within the next 0.00 seconds",
        ),
        (whole[..60].to_owned(), "not the expected JSON object"),
        (String::new(), "not the expected JSON object"),
        (
            format!("<html>{SECRET_KEY}</html>"),
            "not the expected JSON object",
        ),
    ] {
        let pod = Pod::answered(200, broken).await;
        let error = error(&pod.provider()).await;
        assert!(matches!(error, FetchError::Malformed(_)), "{error}");
        assert!(
            error.to_string().starts_with("the answer cannot be used: "),
            "{error}"
        );
        assert!(error.to_string().contains(said), "{error}");
        assert_no_secrets(&chain(&error), &[SECRET_KEY, SESSION_TOKEN]);
        assert_eq!(pod.agent.request_count(), 5, "retried while somebody waits");
    }
}

// "An error body may be JSON {"Code"|"code","Message"|"message"} or text; put at most 512 printable
// bytes of it in the error, with the sent token replaced."
#[tokio::test]
async fn the_agents_message_reaches_the_user_bounded_and_without_the_token() {
    const SENT: &str = "header.claims.signature";
    for (status, answer, said) in [
        (
            400,
            format!("Service account token cannot be parsed: {SENT}\n"),
            "HTTP 400: Service account token cannot be parsed: <token>",
        ),
        (
            404,
            r#"{"Code":"ResourceNotFoundException","Message":"no association"}"#.to_owned(),
            "HTTP 404: ResourceNotFoundException: no association",
        ),
        (
            404,
            r#"{"code":"Nope","message":"because"}"#.to_owned(),
            "HTTP 404: Nope: because",
        ),
        (
            400,
            "[1-2]: (AccessDeniedException): no\x1b[31m\r\n, fault: client\n".to_owned(),
            "HTTP 400: [1-2]: (AccessDeniedException): no [31m  , fault: client",
        ),
        (
            418,
            "x".repeat(100_000),
            &format!("HTTP 418: {}", "x".repeat(512)),
        ),
    ] {
        let pod = Pod::answered(status, answer).await;
        let builder = pod.builder().token(Secret::from(SENT.to_owned()));
        let error = error(&builder.build().unwrap()).await;
        let address = pod.agent.address();
        assert_eq!(error.to_string(), format!("{address} refused: {said}"));
        assert_no_secrets(&chain(&error), &[SENT]);
        assert_eq!(pod.agent.request_count(), 1, "a refusal is not retried");
    }
}

// A refusal may be about a token that kubelet has just replaced, so it is tried once more, at once, if the file
// has other bytes than were sent.
#[tokio::test]
async fn a_refusal_is_retried_with_a_token_that_was_replaced_meanwhile() {
    for status in [400, 401, 403] {
        let pod = Pod::with_any_token().await;
        let volume = swapping(&pod, 1, status);
        let provider = pod.builder().token_file(volume.token_path()).build();
        provider.unwrap().credentials().await.unwrap();
        assert_eq!(tokens(&pod.agent), sent(["token 0", "token 1"]));
    }
}

#[tokio::test]
async fn a_refusal_is_retried_once_and_only_with_another_token() {
    let pod = Pod::answered(401, "token is expired").await;
    error(&pod.provider()).await;
    assert_eq!(pod.agent.request_count(), 1);

    let pod = Pod::with_any_token().await;
    let volume = swapping(&pod, usize::MAX, 403);
    let provider = pod.builder().token_file(volume.token_path()).build();
    error(&provider.unwrap()).await;
    assert_eq!(pod.agent.request_count(), 2, "once more, not for ever");
}

/// A volume whose token is swapped for the next one while the agent refuses it.
fn swapping(pod: &Pod, count: usize, status: u16) -> Arc<ProjectedVolume> {
    let volume = Arc::new(ProjectedVolume::new().unwrap());
    volume.write("token 0").unwrap();
    let (kubelet, swaps) = (volume.clone(), AtomicUsize::new(1));
    let refusal = Fault::respond(move |_request| {
        let next = swaps.fetch_add(1, Ordering::Relaxed);
        kubelet.write(format!("token {next}")).unwrap();
        let refusal = Response::builder().status(status);
        refusal.body("token is expired").unwrap()
    });
    pod.agent.inject_next(count, refusal);
    volume
}

// "Never in a log, an error or a Debug: token, secret key, session token."
#[tokio::test]
async fn debug_output_contains_no_secret() {
    let pod = Pod::with_any_token().await;
    let builder = pod
        .builder()
        .token(Secret::from("header.claims.signature".to_owned()));
    assert_no_secrets(&format!("{builder:?}"), &["header.claims"]);
    let provider = builder.build().unwrap();
    let credentials = provider.credentials().await.unwrap();
    let printed = format!(
        "{provider:?} {provider:#?} {credentials:?} {:?} {:?}",
        provider.state(),
        provider.snapshot()
    );
    assert_no_secrets(&printed, &["header.claims"]);
    pod.agent.assert_no_secrets(&printed);
}

#[cfg(not(feature = "rustls"))]
#[tokio::test]
async fn https_without_tls_names_the_feature() {
    let error = error(&from(&[(FULL_URI, "https://example.com/")])).await;
    assert_eq!(
        error.to_string(),
        "the endpoint is https: build pod-identity-provider with its feature `rustls`"
    );
}
