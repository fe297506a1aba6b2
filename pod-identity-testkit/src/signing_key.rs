use std::fmt;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The published test keys that an [`Issuer`](crate::Issuer) can sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SigningKey {
    /// RS256, as in EKS. Its `kid` is [`Issuer::KEY_ID`](crate::Issuer::KEY_ID).
    #[default]
    Rs256,
    /// RS256 with another key.
    OtherRs256,
    /// ES256, as in some clusters of one's own.
    Es256,
}

impl SigningKey {
    /// Its `kid`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Rs256 => "pod-identity-testkit",
            Self::OtherRs256 => "pod-identity-testkit-2",
            Self::Es256 => "pod-identity-testkit-es256",
        }
    }

    pub(crate) fn pair(self) -> KeyPair {
        match self {
            Self::Rs256 => self.rsa(
                include_bytes!("test-signing-key.pem"),
                include_bytes!("test-signing-key.pub.pem"),
            ),
            Self::OtherRs256 => self.rsa(
                include_bytes!("test-signing-key-2.pem"),
                include_bytes!("test-signing-key-2.pub.pem"),
            ),
            Self::Es256 => KeyPair {
                key: self,
                algorithm: Algorithm::ES256,
                signing: EncodingKey::from_ec_pem(include_bytes!("test-signing-key-es256.pem"))
                    .expect("the embedded signing key must be a P-256 key in PEM"),
                verifying: DecodingKey::from_ec_pem(include_bytes!(
                    "test-signing-key-es256.pub.pem"
                ))
                .expect("the embedded public key must be a P-256 key in PEM"),
            },
        }
    }

    fn rsa(self, signing: &[u8], verifying: &[u8]) -> KeyPair {
        KeyPair {
            key: self,
            algorithm: Algorithm::RS256,
            signing: EncodingKey::from_rsa_pem(signing)
                .expect("the embedded signing key must be an RSA key in PEM"),
            verifying: DecodingKey::from_rsa_pem(verifying)
                .expect("the embedded public key must be an RSA key in PEM"),
        }
    }
}

/// A key that has been read.
#[derive(Clone)]
pub(crate) struct KeyPair {
    pub(crate) key: SigningKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) signing: EncodingKey,
    pub(crate) verifying: DecodingKey,
}

impl KeyPair {
    /// The public half as a JSON Web Key.
    pub(crate) fn public(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.signing, self.algorithm)
            .expect("an embedded signing key must have a public half");
        key.common.key_id = Some(self.key.id().to_owned());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(key).expect("a key must serialize")
    }

    /// As in `alg`.
    pub(crate) fn algorithm_name(&self) -> String {
        format!("{:?}", self.algorithm)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key.id())
    }
}
