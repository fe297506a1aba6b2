use http::request::Parts;
use serde_json::json;

use crate::http::answer::{self, Answer};
use crate::{Issuer, Operation};

/// The issuer's documents: what says where its keys are, and the keys.
pub(crate) fn discovery(operation: Operation, issuer: &Issuer, head: &Parts) -> Answer {
    let document = match operation {
        Operation::JsonWebKeySet => issuer.key_set(),
        _ => json!({
            "issuer": issuer.url(),
            // At the mock, not at the issuer's URL, which only AWS can serve.
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

/// As the client called the mock.
fn origin(head: &Parts) -> String {
    let host = head.headers.get(http::header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    format!("http://{host}")
}

const KEYS: &str = "/keys";
