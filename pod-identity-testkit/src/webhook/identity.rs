use std::collections::BTreeSet;

use pod_identity_core::JsonObject;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A service account that gets its credentials from the node agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) service_account: String,
}

impl Identity {
    pub(crate) fn new(namespace: impl Into<String>, service_account: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            service_account: service_account.into(),
        }
    }
}

/// Parses a configuration file, `{"identities":[{"namespace","serviceAccount"}]}`. An empty file has no service
/// account.
pub(crate) fn parse(file: &[u8]) -> Result<BTreeSet<Identity>, IdentitiesError> {
    if file.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut file: Map<String, Value> = serde_json::from_slice(file).map_err(IdentitiesError)?;
    let identities = file.remove("identities").unwrap_or_default();
    let identities: Option<Vec<JsonObject<Identity>>> =
        serde_json::from_value(identities).map_err(IdentitiesError)?;
    let identities = identities.unwrap_or_default().into_iter();
    Ok(identities.map(|JsonObject(identity)| identity).collect())
}

/// The error for a configuration file that is not `{"identities":[{"namespace":…,"serviceAccount":…}]}`.
#[derive(Debug, thiserror::Error)]
#[error("the webhook's configuration file is malformed: {0}")]
pub struct IdentitiesError(#[source] serde_json::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_service_accounts() {
        for (file, expected) in [
            ("", vec![]),
            ("{}", vec![]),
            (r#"{"identities":null}"#, vec![]),
            (r#"{"identities":[]}"#, vec![]),
            (
                r#"{"identities":[{"namespace":"shop","serviceAccount":"cart","new":true}]}"#,
                vec![Identity::new("shop", "cart")],
            ),
        ] {
            let parsed: Vec<_> = parse(file.as_bytes()).unwrap().into_iter().collect();
            assert_eq!(parsed, expected, "{file}");
        }
    }

    #[test]
    fn a_malformed_file_is_an_error() {
        for file in [
            "{",
            "[]",
            r#"{"identities":{}}"#,
            r#"{"identities":[["shop","cart"]]}"#,
            r#"{"identities":[{"namespace":1}]}"#,
        ] {
            parse(file.as_bytes()).unwrap_err();
        }
    }
}
