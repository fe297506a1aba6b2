use http::request::Parts;
use serde_json::json;

use crate::http::answer::{self, Answer};
use crate::record::redaction;
use crate::{Issuer, Operation};

/// Returns a document of the issuer: the OpenID configuration, or the keys.
pub(crate) fn discovery(operation: Operation, issuer: &Issuer, head: &Parts) -> Answer {
    let document = match operation {
        Operation::JsonWebKeySet => issuer.key_set(),
        _ => json!({
            "issuer": issuer.url(),
            // At the mock: only AWS can serve the issuer's own URL.
            "jwks_uri": format!("{}{}", origin(head), KEYS),
            "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "claims_supported": ["sub", "iss"],
            "id_token_signing_alg_values_supported": issuer.algorithms(),
        }),
    };
    answer::json(200, document.to_string())
}

/// Returns the URL of the mock as the client used it.
fn origin(head: &Parts) -> String {
    let host = head.headers.get(http::header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{}", redaction::text(host))
}

const KEYS: &str = "/keys";
