use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, SERVER};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use pod_identity_core::wire::agent::ErrorResponse;

use crate::doctor::finding::Found;
use crate::doctor::findings::{self, ANOTHER_SERVER, NO_ANSWER, UNEXPECTED_ANSWER};
use crate::doctor::http_exchange::{ExchangeError, exchange};
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Asks for credentials as an SDK does: again, while the answer is 503.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if known.address.is_none() {
        return Outcome::Skipped("no connection was made");
    }
    if known.token.is_none() {
        return Outcome::Skipped("there is no token to ask with");
    }
    let mut attempt = 1;
    loop {
        let answer = match ask(known).await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Found(vec![error]),
        };
        let status = answer.status();
        if status.is_success() {
            known.success = Some(answer);
            return Outcome::Fine(format!("{status}"));
        }
        if status != StatusCode::SERVICE_UNAVAILABLE || attempt == ATTEMPTS {
            return Outcome::Found(vec![refusal(known, &answer)]);
        }
        attempt += 1;
        tokio::time::sleep(wished(&answer)).await;
    }
}

async fn ask(known: &Known) -> Result<Response<Bytes>, Found> {
    let (Some(endpoint), Some(token), Some(address)) =
        (&known.endpoint, &known.token, known.address)
    else {
        return Err(NO_ANSWER.with(""));
    };
    let uri = endpoint.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority)
        .header(AUTHORIZATION, token.to_header_value())
        .body(Empty::new())
        .expect("the parts of a URI that was parsed must be valid");
    let patience = known.around.timeout.max(SLOWEST_ANSWER);
    match exchange(address, request, patience).await {
        Ok(answer) => Ok(answer),
        Err(ExchangeError::NoAnswer(reason)) => Err(NO_ANSWER.with(reason)),
        Err(ExchangeError::Connect(error)) => Err(NO_ANSWER.with(error.to_string())),
    }
}

/// What an answer that is no success is a case of.
fn refusal(known: &Known, answer: &Response<Bytes>) -> Found {
    let status = answer.status();
    let sent = known.token.as_ref().map(|token| token.as_secret());
    let error = ErrorResponse::read(status.as_u16(), answer.body(), sent);
    if let Some(finding) = findings::in_message(&error.message) {
        return finding.with(error.to_string());
    }
    if let Some(finding) = error.code.as_deref().and_then(findings::in_message) {
        return finding.with(error.to_string());
    }
    let header = |name| {
        answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let is_text = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/plain"));
    if is_text {
        return UNEXPECTED_ANSWER.with(error.to_string());
    }
    let server = header(SERVER).map_or(String::new(), |name| format!(" from {name:?}"));
    ANOTHER_SERVER.with(format!("HTTP {status}{server}"))
}

/// How long the server wishes to be left alone.
fn wished(answer: &Response<Bytes>) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1).min(5))
}

/// As most SDKs.
const ATTEMPTS: u32 = 3;

/// The official agent may take 4 s.
const SLOWEST_ANSWER: Duration = Duration::from_secs(5);
