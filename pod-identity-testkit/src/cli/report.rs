use std::collections::HashMap;

use pod_identity_core::{Secret, TokenDigest, UnverifiedClaims};
use serde_json::{Value, json};

use crate::record::redaction::{self, REDACTED};
use crate::{AgentRequest, RecordedRequest};

/// Returns the record of a request to the agent, without secrets: tokens by their digest.
pub(super) fn agent_request(request: AgentRequest, secrets: &Secrets) -> Value {
    let user_agent = request.headers.get(http::header::USER_AGENT);
    let user_agent = user_agent.and_then(|value| value.to_str().ok());
    let user_agent = user_agent.map(redaction::text);
    let record = json!({
        "at": request.at,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "host": request.host,
        "user_agent": user_agent,
        "token": request.token.map(digest),
        "token_age": request.token_age,
        "bearer_prefix": request.bearer_prefix,
        "rotations": request.rotations,
        "in_flight": request.in_flight,
        "pod": request.claims.as_ref().map(pod),
        "outcome": request.outcome,
    });
    redacted(record, secrets)
}

/// Returns the record of a request to EKS Auth, without secrets: tokens by their digest.
pub(super) fn eks_request(request: RecordedRequest, secrets: &Secrets) -> Value {
    let record = json!({
        "at": request.at,
        "connection": request.connection,
        "operation": request.operation.name(),
        "action": request.action,
        "method": request.method,
        "path": request.path,
        "parameters": request.parameters,
        "body": request.body,
        "cluster": request.cluster,
        "host": request.host,
        "user_agent": request.user_agent,
        "token": request.token.map(digest),
        "in_flight": request.in_flight,
        "pod": request.claims.as_ref().map(pod),
        "signature_error": request.signature_error.as_ref().map(ToString::to_string),
        "outcome": request.outcome,
    });
    redacted(record, secrets)
}

/// What the mock webhook saw of a request.
#[cfg(feature = "webhook")]
pub(super) fn webhook_request(mut request: crate::WebhookRequest) -> Value {
    // Moved, because it is nearly all of the record.
    let review = request.review.take();
    let mut record = json!({
        "at": request.at,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "host": request.host,
        "uid": request.uid,
        "namespace": request.namespace,
        "service_account": request.service_account,
        "pod": request.pod,
        "review": null,
        "patch": request.patch,
        "in_flight": request.in_flight,
        "outcome": request.outcome,
    });
    if let (Some(member), Some(review)) = (record.get_mut("review"), review) {
        *member = review;
    }
    record
}

/// Formats a digest as its `Debug` does: enough to tell tokens apart.
fn digest(token: TokenDigest) -> String {
    let [a, b, c, d, ..] = *token.as_bytes();
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

fn pod(claims: &UnverifiedClaims) -> Value {
    json!({
        "namespace": claims.namespace,
        "service_account": claims.service_account,
        "name": claims.pod,
    })
}

/// A client may put its token where it does not belong.
fn redacted(value: Value, secrets: &Secrets) -> Value {
    let again = |value| redacted(value, secrets);
    match value {
        Value::String(text) => Value::from(secrets.redact(text)),
        Value::Array(elements) => elements.into_iter().map(again).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, again(value)))
            .collect(),
        other => other,
    }
}

/// All secrets that a mock knows, by their last bytes: so a text is looked through once, not for each of ten thousand.
/// The first bytes of tokens are alike.
pub(super) struct Secrets {
    by_end: HashMap<[u8; END], Vec<Secret>>,
    /// Those that have fewer bytes.
    short: Vec<Secret>,
}

impl Secrets {
    pub(super) fn new(all: Vec<Secret>) -> Self {
        let mut secrets = Self {
            by_end: HashMap::new(),
            short: Vec::new(),
        };
        for secret in all {
            match secret.expose().as_bytes().last_chunk() {
                Some(end) => secrets.by_end.entry(*end).or_default().push(secret),
                None if secret.expose().is_empty() => {}
                None => secrets.short.push(secret),
            }
        }
        secrets
    }

    fn redact(&self, text: String) -> String {
        let ends = text.as_bytes().windows(END);
        let ends = ends.filter_map(|end| self.by_end.get(end));
        let found = ends.flatten().chain(&self.short);
        let found: Vec<&str> = found
            .map(Secret::expose)
            .filter(|secret| text.contains(secret))
            .collect();
        let redacted = |text: String, secret| text.replace(secret, REDACTED);
        found.into_iter().fold(text, redacted)
    }
}

/// Enough bytes to be those of one secret only.
const END: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misplaced_token_is_redacted() {
        let secrets = ["", "aaa.bbb.ccc", "ddd.bbb.ccc", "ee"];
        let secrets = Secrets::new(secrets.map(|text| Secret::from(text.to_owned())).into());
        let record = json!({"path": "/v1/credentials?x=aaa.bbb.ccc", "body": ["aaa.bbb.ccc", 7]});
        assert_eq!(
            redacted(record, &secrets),
            json!({"path": "/v1/credentials?x=redacted", "body": ["redacted", 7]})
        );
        let record = json!(["ddd.bbb.ccc, aaa.bbb.ccc", "zzz.bbb.ccc", "e", "feed"]);
        assert_eq!(
            redacted(record, &secrets),
            json!(["redacted, redacted", "zzz.bbb.ccc", "e", "fredactedd"])
        );
    }
}
