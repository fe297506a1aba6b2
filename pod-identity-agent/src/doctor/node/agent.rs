use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::Empty;
use pod_identity_core::TokenError;
use pod_identity_core::wire::agent::{PATH, Refusal};

use crate::doctor::finding::Found;
use crate::doctor::findings::{self, ANOTHER_SERVER, NO_ANSWER, NOT_READY, PROBES_SILENT};
use crate::doctor::http_exchange::{ExchangeError, exchange};
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;

/// Whether what listens is an agent, and what it says of its readiness.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let patience = known.around.timeout;
    let mut found = Vec::new();
    let mut answering = 0;
    for address in known.agent.credentials() {
        match ask(address, PATH, patience).await {
            Ok(answer) if is_agents(&answer) => answering += 1,
            Ok(answer) => {
                let status = answer.status();
                found.push(ANOTHER_SERVER.with(format!("{address} answers HTTP {status}")));
            }
            Err(ExchangeError::NoAnswer(reason)) => {
                found.push(NO_ANSWER.with(format!("{address}: {reason}")));
            }
            // The step before reports who does not listen.
            Err(ExchangeError::Connect(_)) => {}
        }
    }
    found.extend(readiness(known.agent.probes, patience).await);
    Outcome::of(
        found,
        format!("ready, and answers at {answering} addresses"),
    )
}

/// A request without a token is refused by every agent in the same words.
fn is_agents(answer: &Response<Bytes>) -> bool {
    let refusal = Refusal::Token(TokenError::Empty).to_string();
    answer.status() == 400 && String::from_utf8_lossy(answer.body()).trim_end() == refusal
}

async fn readiness(probes: SocketAddr, patience: Duration) -> Option<Found> {
    match ask(probes, "/readyz", patience).await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => {
            let reason = String::from_utf8_lossy(answer.body()).trim_end().to_owned();
            let finding = findings::in_message(&reason).unwrap_or(&NOT_READY);
            Some(finding.with(format!("/readyz: {reason}")))
        }
        Err(_silent) => Some(PROBES_SILENT.with(probes.to_string())),
    }
}

pub(super) async fn ask(
    address: SocketAddr,
    path: &str,
    patience: Duration,
) -> Result<Response<Bytes>, ExchangeError> {
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .body(Empty::new())
        .expect("a fixed path must be valid");
    exchange(address, request, patience).await
}
