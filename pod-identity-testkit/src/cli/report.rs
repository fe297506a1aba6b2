use pod_identity_core::{Secret, TokenDigest, UnverifiedClaims};
use serde_json::{Value, json};

use crate::{AgentRequest, RecordedRequest};

/// Returns the record of a request to the agent, without secrets: tokens by their digest.
pub(super) fn agent_request(request: &AgentRequest, secrets: &[Secret]) -> Value {
    let text = |text: &str| redacted(text, secrets);
    let user_agent = request.headers.get(http::header::USER_AGENT);
    let user_agent = user_agent.and_then(|value| value.to_str().ok());
    json!({
        "at": request.at,
        "connection": request.connection,
        "method": text(&request.method),
        "path": text(&request.path),
        "host": request.host.as_deref().map(text),
        "user_agent": user_agent.map(text),
        "token": request.token.map(digest),
        "token_age": request.token_age,
        "bearer_prefix": request.bearer_prefix,
        "pod": request.claims.as_ref().map(pod),
        "outcome": request.outcome,
    })
}

/// Returns the record of a request to EKS Auth, without secrets: tokens by their digest.
pub(super) fn eks_request(request: &RecordedRequest, secrets: &[Secret]) -> Value {
    let text = |text: &str| redacted(text, secrets);
    json!({
        "at": request.at,
        "connection": request.connection,
        "operation": request.operation.name(),
        "method": text(&request.method),
        "path": text(&request.path),
        "cluster": request.cluster.as_deref().map(text),
        "host": request.host.as_deref().map(text),
        "user_agent": request.user_agent.as_deref().map(text),
        "token": request.token.map(digest),
        "pod": request.claims.as_ref().map(pod),
        "signature_error": request.signature_error.as_ref().map(ToString::to_string),
        "outcome": request.outcome,
    })
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
fn redacted(text: &str, secrets: &[Secret]) -> String {
    let secrets = secrets.iter().map(Secret::expose);
    secrets
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| {
            text.replace(secret, "[redacted]")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misplaced_token_is_redacted() {
        let secrets = ["", "aaa.bbb.ccc"].map(|text| Secret::from(text.to_owned()));
        assert_eq!(
            redacted("/v1/credentials?token=aaa.bbb.ccc", &secrets),
            "/v1/credentials?token=[redacted]"
        );
    }
}
