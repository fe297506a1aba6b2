use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use pod_identity_core::JsonObject;
use serde_json::Value;

/// The public keys of a cluster that exists: a JSON Web Key Set (RFC 7517), as an API server serves it at
/// `/openid/v1/jwks`.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// As it was read, to be served again.
    pub(crate) document: Value,
    keys: Vec<PublicKey>,
}

#[derive(Debug)]
pub(crate) struct PublicKey {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) verifying: DecodingKey,
}

/// Why a text is not a set of keys that a cluster can sign tokens with.
///
/// `kubectl get --raw /openid/v1/jwks` prints the set of a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The text is not a JSON Web Key Set.
    #[error("not a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    /// A member of a key is malformed.
    #[error("a key of the set is malformed: {0}")]
    Key(#[from] jsonwebtoken::errors::Error),
    /// No key of the set is RSA or on P-256 or P-384, which are those that an API server signs with.
    #[error("the set has no key for RS256, ES256 or ES384")]
    Empty,
}

impl KeySet {
    pub(crate) fn parse(json: &str) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_str(json)?;
        let JsonObject(set): JsonObject<JwkSet> = serde_json::from_value(document.clone())?;
        let keys = set.keys.iter().filter_map(PublicKey::of);
        let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self { document, keys })
    }

    /// Returns the key of this id. A token without an id can only be signed by the only key.
    pub(crate) fn key(&self, id: Option<&str>) -> Option<&PublicKey> {
        match (id, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }

    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().map(|key| key.algorithm)
    }
}

impl PublicKey {
    /// `None` for a key of another kind.
    fn of(key: &Jwk) -> Option<Result<Self, KeySetError>> {
        let algorithm = match &key.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => Algorithm::ES256,
                EllipticCurve::P384 => Algorithm::ES384,
                _ => return None,
            },
            _ => return None,
        };
        let verifying = DecodingKey::from_jwk(key).map_err(KeySetError::from);
        Some(verifying.map(|verifying| Self {
            id: key.common.key_id.clone(),
            algorithm,
            verifying,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_a_usable_key_is_refused_with_a_reason() {
        for (json, reason) in [
            ("", "not a JSON Web Key Set"),
            ("[]", "not a JSON Web Key Set"),
            ("[[]]", "not a JSON Web Key Set"),
            (r#"{"keys": [[]]}"#, "not a JSON Web Key Set"),
            (r#"{"keys": []}"#, "no key for RS256"),
            (
                r#"{"keys": [{"kty": "oct", "k": "AA"}]}"#,
                "no key for RS256",
            ),
            (
                r#"{"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}"#,
                "malformed",
            ),
        ] {
            let error = KeySet::parse(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
