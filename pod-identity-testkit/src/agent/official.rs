//! The official agent's own checks, in its words. Source: aws/eks-pod-identity-agent 0.1.37, with Go 1.26's
//! `net/http` and golang-jwt 5.2.2 as it has them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use percent_encoding::percent_decode_str;
use pod_identity_core::wire::agent;
use pod_identity_core::wire::agent::Refusal;
use pod_identity_core::{Endpoint, Timestamp};
use serde_json::Value;

use crate::http::answer::{self, Answer};
use crate::http::request_head::RequestHead;

/// Returns the answer of `net/http` itself and of its `ServeMux`: to what no handler sees.
pub(crate) fn before_the_handler(head: &RequestHead) -> Option<Answer> {
    let (path, query) = target(head);
    let cleaned = clean(path);
    if head.method != "CONNECT" && cleaned != path {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        return Some(moved(&head.method, &format!("{cleaned}{query}")));
    }
    (!is_credentials(path)).then(|| Refusal::NotFound.to_response().map(Bytes::from))
}

/// # Errors
/// Returns what `net/http` adds to `400 Bad Request` for a head that it does not accept.
pub(crate) fn check_head(head: &RequestHead) -> Result<(), &'static str> {
    let hosts: Vec<&HeaderValue> = head.headers.get_all(HOST).iter().collect();
    let (path, _query) = target(head);
    let is_encoded = |escape: &str| {
        let digits = escape.as_bytes().iter().take(2);
        digits.filter(|digit| digit.is_ascii_hexdigit()).count() == 2
    };
    match hosts.as_slice() {
        [] if !head.is_http_1_0 => Err(": missing required Host header"),
        [_, _, ..] => Err(""),
        [host] if !host.as_bytes().iter().all(is_of_a_host) => Err(": malformed Host header"),
        _ if !path.starts_with('/') => Err(""),
        _ if !path.split('%').skip(1).all(is_encoded) => Err(""),
        _ => Ok(()),
    }
}

/// `httpguts.ValidHostHeader`.
fn is_of_a_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte)
}

/// # Errors
/// Refuses a `Host` that is not one of the two official ones, nor one of these.
pub(crate) fn check_host(head: &RequestHead, others: &[String]) -> Result<(), Refusal> {
    let host = host(head);
    let without_port = split_host_port(&host).unwrap_or(&host);
    let bare = without_port
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(without_port);
    let official = [
        Endpoint::EKS_IPV4.to_string(),
        Endpoint::EKS_IPV6.to_string(),
    ];
    match official.iter().chain(others).any(|other| other == bare) {
        true => Ok(()),
        false => Err(Refusal::HostNotAllowed {
            host: bare.to_owned(),
        }),
    }
}

/// What [`check_token`] has against a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenProblem {
    #[error("Service account token cannot be empty")]
    Empty,
    #[error("Service account token cannot be parsed: {0}")]
    Unreadable(String),
    #[error("Service account token failed basic claim validations: {0}")]
    Claims(String),
}

impl From<TokenProblem> for Answer {
    fn from(problem: TokenProblem) -> Self {
        answer::text(400, problem)
    }
}

/// # Errors
/// Refuses what golang-jwt does not parse, or does not find valid now. A token without `exp` is valid.
pub(crate) fn check_token(token: &str, now: Timestamp) -> Result<(), TokenProblem> {
    if token.is_empty() {
        return Err(TokenProblem::Empty);
    }
    let claims = parse(token).map_err(TokenProblem::Unreadable)?;
    let now = now.as_unix_millis() as f64 / 1000.0;
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    let mut problems = Vec::new();
    if time("exp").is_some_and(|exp| now >= exp) {
        problems.push("token is expired");
    }
    if time("nbf").is_some_and(|nbf| now < nbf) {
        problems.push("token is not valid yet");
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(TokenProblem::Claims(problems.join(", "))),
    }
}

/// The claims of a token, whose signature the official agent does not look at.
fn parse(token: &str) -> Result<Value, String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        return Err("token is malformed: token contains an invalid number of segments".to_owned());
    };
    let header = object(header, "header", "map[string]interface {}")?;
    let claims = object(claims, "claim", "jwt.RegisteredClaims")?;
    for name in ["exp", "nbf", "iat"] {
        match claims.get(name) {
            None | Some(Value::Null | Value::Number(_)) => {}
            Some(other) => {
                let raw = other.to_string();
                return Err(format!(
                    "token is malformed: could not JSON decode claim: could not parse NumericData: json: invalid \
                     number literal, trying to unmarshal {raw:?} into Number"
                ));
            }
        }
    }
    match claims.get("aud") {
        None | Some(Value::Null | Value::String(_) | Value::Array(_)) => {}
        Some(_other) => {
            let words = "token is malformed: could not JSON decode claim: invalid type for claim";
            return Err(words.to_owned());
        }
    }
    match header.get("alg").and_then(Value::as_str) {
        None => Err("token is unverifiable: signing method (alg) is unspecified".to_owned()),
        Some(alg) if ALGORITHMS.contains(&alg) => Ok(claims),
        Some(_) => Err("token is unverifiable: signing method (alg) is unavailable".to_owned()),
    }
}

fn object(part: &str, what: &str, go_type: &str) -> Result<Value, String> {
    let bytes = decode(part).map_err(|at| {
        format!(
            "token is malformed: could not base64 decode {what}: illegal base64 data at input byte {at}"
        )
    })?;
    let unreadable =
        |words: String| format!("token is malformed: could not JSON decode {what}: {words}");
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(go_words(&bytes, &error)))?;
    let kind = match value {
        Value::Object(_) | Value::Null => return Ok(value),
        Value::Array(_) => "array",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    Err(unreadable(format!(
        "json: cannot unmarshal {kind} into Go value of type {go_type}"
    )))
}

/// What `encoding/json` says of the commonest faults; of others it says where it was in the grammar, too.
fn go_words(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start();
    for literal in ["null", "true", "false"] {
        let same = text
            .chars()
            .zip(literal.chars())
            .take_while(|(is, wanted)| is == wanted)
            .count();
        if let (1.., Some(found), Some(wanted)) =
            (same, text.chars().nth(same), literal.chars().nth(same))
        {
            return format!(
                "invalid character '{found}' in literal {literal} (expecting '{wanted}')"
            );
        }
    }
    let at = error.column().saturating_sub(1);
    let found = text.chars().nth(at).unwrap_or('?');
    let place = match error.to_string().starts_with("trailing") {
        true => "after top-level value",
        false => "looking for beginning of value",
    };
    format!("invalid character '{found}' {place}")
}

/// Base64 of URLs without padding.
///
/// # Errors
/// Fails with the offset that Go's `CorruptInputError` has.
fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for (at, letter) in text.bytes().enumerate() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            // Go skips line ends.
            b'\r' | b'\n' => continue,
            _ => return Err(at),
        };
        bits = (bits << 6) | u32::from(value);
        count += 1;
        if count == 4 {
            let [_, quantum @ ..] = bits.to_be_bytes();
            bytes.extend(quantum);
            (bits, count) = (0, 0);
        }
    }
    match count {
        0 => {}
        1 => return Err(text.len() - 1),
        _ => {
            let [_, quantum @ ..] = (bits << (6 * (4 - count))).to_be_bytes();
            bytes.extend(quantum.iter().take(count - 1));
        }
    }
    Ok(bytes)
}

/// The path and the query; those of a target that is a whole URL, too.
fn target(head: &RequestHead) -> (&str, Option<&str>) {
    let target = match head.target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| rest.split_at(at).1),
        None => &head.target,
    };
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// That of a target that is a whole URL comes first.
fn host(head: &RequestHead) -> String {
    match head.target.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default().to_owned(),
        None => head.host().unwrap_or_default(),
    }
}

/// Go's `net.SplitHostPort`: nothing if there is no port, or if it is not clear where it begins.
fn split_host_port(text: &str) -> Option<&str> {
    let colon = text.rfind(':')?;
    if let Some(rest) = text.strip_prefix('[') {
        let end = rest.find(']')?;
        return (end + 2 == colon).then(|| rest.split_at(end).0);
    }
    let (host, _port) = text.split_at(colon);
    (!host.contains([':', '[', ']'])).then_some(host)
}

/// Segment by segment, so that an encoded slash is none.
fn is_credentials(path: &str) -> bool {
    let mut wanted = agent::PATH.split('/');
    let mut sent = path.split('/');
    loop {
        match (wanted.next(), sent.next()) {
            (None, None) => return true,
            (Some(wanted), Some(sent)) if percent_decode_str(sent).eq(wanted.bytes()) => {}
            _ => return false,
        }
    }
}

/// Go's `path.Clean` for a rooted path, which keeps a slash at the end.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let end = if path.len() > 1 && path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

/// `ServeMux` redirects to the cleaned path. Only a GET or HEAD has a page, and only a GET gets it.
fn moved(method: &str, location: &str) -> Answer {
    let page = match method {
        "GET" => format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", html(location)),
        _ => String::new(),
    };
    let mut answer = answer::bare(307, page);
    let headers = answer.headers_mut();
    if matches!(method, "GET" | "HEAD") {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
    }
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, location);
    }
    answer
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Those that golang-jwt registers.
const ALGORITHMS: [&str; 14] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA", "none",
];
