//! The mock agent's mode `official`, byte for byte for valid requests. The expected bytes are those of Go 1.26's `net/http` and of
//! golang-jwt 5.2.2, with which aws/eks-pod-identity-agent 0.1.37 is built.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pod_identity_testkit::{AgentMode, MockAgent};

use crate::raw::{Raw, at_rest, get};

const GOOD: &str = "eyJhbGciOiJSUzI1NiJ9.e30.x";
const DATE: &str = "Date: Sun, 01 Mar 2026 12:00:00 GMT\r\n";

async fn official() -> MockAgent {
    let (builder, _clock) = at_rest();
    builder.mode(AgentMode::Official).start().await.unwrap()
}

/// Everything that comes back over a connection which the client then closes.
async fn answer(agent: &MockAgent, request: &str) -> String {
    let mut raw = Raw::connect(agent).await;
    raw.send(request).await;
    raw.finish().await;
    String::from_utf8(raw.rest().await.0).unwrap()
}

fn text(status: &str, length: usize, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
         {DATE}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn not_a_request(reason: &str) -> String {
    format!(
        "HTTP/1.1 400 Bad Request{reason}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
         400 Bad Request{reason}"
    )
}

#[tokio::test]
async fn a_success_is_the_same_for_every_method_and_spelling_of_the_path() {
    let agent = official().await;
    let host = format!("Host: 169.254.170.23\r\nAuthorization: {GOOD}\r\n");
    for line in [
        "GET /v1/credentials",
        "GET /v1/credentials?x=1",
        "GET /v1/%63redentials",
        "GET http://169.254.170.23/v1/credentials",
        "POST /v1/credentials",
        "DELETE /v1/credentials",
        "BREW /v1/credentials",
    ] {
        let answer = answer(&agent, &format!("{line} HTTP/1.1\r\n{host}\r\n")).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let head = format!("{head}{DATE}Content-Length: ");
        assert!(answer.starts_with(&head), "{line}: {answer}");
        assert!(
            answer.contains("\r\n\r\n{\"AccessKeyId\":\"ASIA"),
            "{line}: {answer}"
        );
    }
    let head = answer(
        &agent,
        &format!("HEAD /v1/credentials HTTP/1.1\r\n{host}\r\n"),
    )
    .await;
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let old = answer(
        &agent,
        &format!("GET /v1/credentials HTTP/1.0\r\n{host}\r\n"),
    )
    .await;
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n"), "{old}");
    assert!(!old.contains("Connection"), "{old}");
    let last = format!("GET /v1/credentials HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    let last = answer(&agent, &last).await;
    assert!(last.contains("\r\nConnection: close\r\n\r\n{"), "{last}");
}

#[tokio::test]
async fn a_path_is_cleaned_by_a_redirect() {
    let agent = official().await;
    let redirect = |location: &str, length: usize, body: &str| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nContent-Type: text/html; charset=utf-8\r\nLocation: {location}\r\n\
             {DATE}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let page = "<a href=\"/v1/credentials\">Temporary Redirect</a>.\n\n";
    let with_query = "<a href=\"/v1/credentials?q=1\">Temporary Redirect</a>.\n\n";
    let with_slash = "<a href=\"/v1/credentials/\">Temporary Redirect</a>.\n\n";
    for (line, expected) in [
        (
            "GET //v1/credentials",
            redirect("/v1/credentials", 51, page),
        ),
        (
            "GET /x/../v1/credentials",
            redirect("/v1/credentials", 51, page),
        ),
        (
            "GET /v1/./credentials?q=1",
            redirect("/v1/credentials?q=1", 55, with_query),
        ),
        (
            "GET /v1//credentials/",
            redirect("/v1/credentials/", 52, with_slash),
        ),
        (
            "POST //v1/credentials",
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/credentials\r\n{DATE}Content-Length: 0\r\n\r\n"
            ),
        ),
        (
            "HEAD //v1/credentials",
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Location: /v1/credentials\r\n{DATE}\r\n"
            ),
        ),
        (
            "GET /v1/credentials/",
            text("404 Not Found", 19, "404 page not found\n"),
        ),
        (
            "GET /v1%2Fcredentials",
            text("404 Not Found", 19, "404 page not found\n"),
        ),
        (
            "GET /V1/credentials",
            text("404 Not Found", 19, "404 page not found\n"),
        ),
        ("GET /", text("404 Not Found", 19, "404 page not found\n")),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: 169.254.170.23\r\n\r\n");
        assert_eq!(answer(&agent, &request).await, expected, "{line}");
    }
}

#[tokio::test]
async fn a_host_is_compared_letter_by_letter() {
    let agent = official().await;
    let denied = "Access Denied. Called agent through invalid address, please use either \
                  [169.254.170.23 fd00:ec2::23] address not ";
    for host in [
        "169.254.170.23",
        "169.254.170.23:",
        "169.254.170.23:http",
        "[fd00:ec2::23]:80",
        "[fd00:ec2::23]",
        "fd00:ec2::23",
    ] {
        let request = format!("GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let expected = text(
            "400 Bad Request",
            38,
            "Service account token cannot be empty\n",
        );
        assert_eq!(answer(&agent, &request).await, expected, "{host}");
    }
    for (host, length, named) in [
        ("", 114, ""),
        ("localhost:80", 123, "localhost"),
        ("[fd00:ec2:0::23]", 128, "fd00:ec2:0::23"),
        ("evil.example:80", 126, "evil.example"),
    ] {
        let request = format!("GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let expected = text("403 Forbidden", length, &format!("{denied}{named}\n"));
        assert_eq!(answer(&agent, &request).await, expected, "{host}");
    }
    let whole = "GET http://other/v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\n\r\n";
    let expected = text("403 Forbidden", 119, &format!("{denied}other\n"));
    assert_eq!(answer(&agent, whole).await, expected);
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_by_go() {
    let agent = official().await;
    for (request, expected) in [
        (
            "GET /v1/credentials HTTP/1.1\r\n\r\n",
            not_a_request(": missing required Host header"),
        ),
        (
            "GET /v1/credentials HTTP/1.1\r\nHost: a b\r\n\r\n",
            not_a_request(": malformed Host header"),
        ),
        (
            "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nHost: 169.254.170.23\r\n\r\n",
            not_a_request(""),
        ),
        (
            "GET v1/credentials HTTP/1.1\r\nHost: x\r\n\r\n",
            not_a_request(""),
        ),
        ("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", not_a_request("")),
        ("nonsense\r\n\r\n", not_a_request("")),
    ] {
        assert_eq!(answer(&agent, request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn a_token_is_refused_in_the_words_of_its_parser() {
    let agent = official().await;
    let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let header = encode(r#"{"alg":"RS256"}"#);
    let with_header = |json: &str| format!("{}.e30.x", encode(json));
    let with_claims = |json: &str| format!("{header}.{}.x", encode(json));
    let unparsed = "Service account token cannot be parsed: token is ";
    let invalid = "Service account token failed basic claim validations: ";
    for (token, start, words) in [
        (
            "a.b".to_owned(),
            unparsed,
            "malformed: token contains an invalid number of segments",
        ),
        (
            format!("Bearer {GOOD}"),
            unparsed,
            "malformed: could not base64 decode header: illegal base64 data at input byte 6",
        ),
        (
            "abcde.e30.x".to_owned(),
            unparsed,
            "malformed: could not base64 decode header: illegal base64 data at input byte 4",
        ),
        (
            "ab=.e30.x".to_owned(),
            unparsed,
            "malformed: could not base64 decode header: illegal base64 data at input byte 2",
        ),
        (
            "YQ.e30.x".to_owned(),
            unparsed,
            "malformed: could not JSON decode header: invalid character 'a' looking for beginning of value",
        ),
        (
            ".e30.x".to_owned(),
            unparsed,
            "malformed: could not JSON decode header: unexpected end of JSON input",
        ),
        (
            with_header("[]"),
            unparsed,
            "malformed: could not JSON decode header: json: cannot unmarshal array into Go value of type \
             map[string]interface {}",
        ),
        (
            with_header("{}"),
            unparsed,
            "unverifiable: signing method (alg) is unspecified",
        ),
        (
            with_header(r#"{"alg":"X"}"#),
            unparsed,
            "unverifiable: signing method (alg) is unavailable",
        ),
        (
            format!("{header}.!.x"),
            unparsed,
            "malformed: could not base64 decode claim: illegal base64 data at input byte 0",
        ),
        (
            with_claims("nope"),
            unparsed,
            "malformed: could not JSON decode claim: invalid character 'o' in literal null (expecting 'u')",
        ),
        (
            with_claims(r#"{"exp":1}x"#),
            unparsed,
            "malformed: could not JSON decode claim: invalid character 'x' after top-level value",
        ),
        (
            with_claims(r#"{"exp":"x"}"#),
            unparsed,
            "malformed: could not JSON decode claim: could not parse NumericData: json: invalid number literal, \
             trying to unmarshal \"\\\"x\\\"\" into Number",
        ),
        (
            with_claims(r#"{"aud":7}"#),
            unparsed,
            "malformed: could not JSON decode claim: invalid type for claim",
        ),
        (with_claims(r#"{"exp":1}"#), invalid, "token is expired"),
        (
            with_claims(r#"{"nbf":99999999999}"#),
            invalid,
            "token is not valid yet",
        ),
        (
            with_claims(r#"{"exp":1,"nbf":99999999999}"#),
            invalid,
            "token is expired, token is not valid yet",
        ),
    ] {
        let body = format!("{start}{words}\n");
        let expected = text("400 Bad Request", body.len(), &body);
        assert_eq!(answer(&agent, &get(&token)).await, expected, "{token}");
    }
    for good in [
        GOOD.to_owned(),
        with_header(r#"{"alg":"none"}"#),
        with_claims(r#"{"exp":null,"iat":99999999999}"#),
        with_claims("null"),
        format!(" \t{GOOD} \t"),
    ] {
        let answer = answer(&agent, &get(&good)).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{good}: {answer}"
        );
    }
}

#[tokio::test]
async fn ours_refuses_more_and_is_the_default() {
    let (builder, _clock) = at_rest();
    let agent = builder.start().await.unwrap();
    let host = format!("Host: 169.254.170.23\r\nAuthorization: {GOOD}\r\n");
    let post = answer(
        &agent,
        &format!("POST /v1/credentials HTTP/1.1\r\n{host}\r\n"),
    )
    .await;
    assert!(
        post.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{post}"
    );
    let endless = answer(&agent, &get("eyJhbGciOiJSUzI1NiJ9.e30.eA")).await;
    assert!(endless.contains("exp claim is required"), "{endless}");
}

/// Go reads up to 256 KiB of a body that its handler has left, so that the connection goes on.
#[tokio::test]
async fn a_request_after_one_with_a_body_is_answered_over_the_same_connection() {
    let agent = official().await;
    let head = format!("Host: 169.254.170.23\r\nAuthorization: {GOOD}\r\n");
    let next = format!("GET /v1/credentials HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
    let large = format!("Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n",
        &large,
    ] {
        let first = format!("GET /v1/credentials HTTP/1.1\r\n{head}{body}");
        let answers = answer(&agent, &(first + &next)).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
    }
}

/// It does not read them if they are larger, or if the client waits for `100 Continue`.
#[tokio::test]
async fn a_body_that_is_not_read_ends_the_connection() {
    let agent = official().await;
    let head = format!("Host: 169.254.170.23\r\nAuthorization: {GOOD}\r\n");
    for body in [
        "Content-Length: 300000\r\n\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nffffffffffffffff\r\n",
    ] {
        let request = format!("GET /v1/credentials HTTP/1.1\r\n{head}{body}");
        let answer = answer(&agent, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_ends_if_one_of_the_options_says_so() {
    let agent = official().await;
    let head = format!("Host: 169.254.170.23\r\nAuthorization: {GOOD}\r\n");
    for (version, options, connection) in [
        ("1.1", "Connection: keep-alive, close\r\n", Some("close")),
        (
            "1.1",
            "Connection: x\r\nConnection: Close\r\n",
            Some("close"),
        ),
        ("1.1", "Connection: enclosed\r\n", None),
        ("1.0", "Connection: Keep-Alive\r\n", Some("keep-alive")),
        ("1.0", "Connection: x,keep-alive\r\n", Some("keep-alive")),
    ] {
        let mut raw = Raw::connect(&agent).await;
        let request = format!("GET /v1/credentials HTTP/{version}\r\n{head}{options}\r\n");
        raw.send(&request).await;
        if connection != Some("close") {
            // It goes on, and this is the last.
            raw.send(&request.replace(options, "Connection: close\r\n"))
                .await;
        }
        let answers = String::from_utf8(raw.rest().await.0).unwrap();
        let first = answers.split("\r\n\r\n").next().unwrap();
        let said = first
            .lines()
            .find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!(said, connection, "{options}: {answers}");
        let count = if connection == Some("close") { 1 } else { 2 };
        assert_eq!(answers.matches(" 200 OK").count(), count, "{options}");
    }
}
