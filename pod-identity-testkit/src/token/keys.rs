use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
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
    /// ES256, as in some clusters outside EKS.
    Es256,
}

impl SigningKey {
    /// Returns its `kid`: as in Kubernetes, the SHA-256 of the public key in DER, in base64url.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Rs256 => "7QCVmRjwzDkb6vB1XbbQkYledq2iBVqlcinjXu7KSn8",
            Self::OtherRs256 => "3FGnrRaTQfumohD-2_O7gBoCcewaZCMnNePl2ArmM5E",
            Self::Es256 => "J7YBBZnEfzP_nuaOlLmy5emtNQQZNgWk-re3qVbzvOc",
        }
    }

    /// Returns the parsed key. It is parsed once in a process: parsing and preparing it takes twice as long as
    /// a signature.
    pub(crate) fn pair(self) -> &'static KeyPair {
        static RS256: LazyLock<KeyPair> = LazyLock::new(|| {
            SigningKey::Rs256.rsa(
                include_bytes!("test-signing-key.pem"),
                include_bytes!("test-signing-key.pub.pem"),
            )
        });
        static OTHER_RS256: LazyLock<KeyPair> = LazyLock::new(|| {
            SigningKey::OtherRs256.rsa(
                include_bytes!("test-signing-key-2.pem"),
                include_bytes!("test-signing-key-2.pub.pem"),
            )
        });
        static ES256: LazyLock<KeyPair> = LazyLock::new(|| {
            SigningKey::Es256.ec(
                include_bytes!("test-signing-key-es256.pem"),
                include_bytes!("test-signing-key-es256.pub.pem"),
            )
        });
        match self {
            Self::Rs256 => &RS256,
            Self::OtherRs256 => &OTHER_RS256,
            Self::Es256 => &ES256,
        }
    }

    fn rsa(self, signing: &[u8], verifying: &[u8]) -> KeyPair {
        let signing = EncodingKey::from_rsa_pem(signing)
            .expect("the embedded signing key must be an RSA key in PEM");
        let rsa = RsaKeyPair::from_der(signing.as_bytes())
            .expect("the embedded signing key must be an RSA key");
        KeyPair {
            key: self,
            algorithm: Algorithm::RS256,
            signing,
            rsa: Some(rsa),
            verifying: DecodingKey::from_rsa_pem(verifying)
                .expect("the embedded public key must be an RSA key in PEM"),
        }
    }

    fn ec(self, signing: &[u8], verifying: &[u8]) -> KeyPair {
        KeyPair {
            key: self,
            algorithm: Algorithm::ES256,
            signing: EncodingKey::from_ec_pem(signing)
                .expect("the embedded signing key must be a P-256 key in PEM"),
            rsa: None,
            verifying: DecodingKey::from_ec_pem(verifying)
                .expect("the embedded public key must be a P-256 key in PEM"),
        }
    }
}

/// A parsed key.
pub(crate) struct KeyPair {
    pub(crate) key: SigningKey,
    pub(crate) algorithm: Algorithm,
    signing: EncodingKey,
    /// `signing`, ready for use, because `jsonwebtoken` parses an RSA key for each signature. It is a key of
    /// *ring*, because AWS-LC gathers entropy for 30 ms before the first signature of a process.
    rsa: Option<RsaKeyPair>,
    pub(crate) verifying: DecodingKey,
}

impl KeyPair {
    /// Returns the signature in base64url.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        let Some(key) = &self.rsa else {
            return jsonwebtoken::crypto::sign(message, &self.signing, self.algorithm)
                .expect("an embedded key must sign");
        };
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            message,
            &mut signature,
        )
        .expect("an embedded key must sign");
        URL_SAFE_NO_PAD.encode(signature)
    }

    /// Returns as many random bytes as a signature has, in base64url.
    pub(crate) fn forge(&self) -> String {
        let of_rsa = self.rsa.as_ref().map(|key| key.public().modulus_len());
        let mut signature = vec![0; of_rsa.unwrap_or(ES256_LENGTH)];
        fastrand::fill(&mut signature);
        URL_SAFE_NO_PAD.encode(signature)
    }

    /// Returns the public key as a JSON Web Key.
    pub(crate) fn public(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.signing, self.algorithm)
            .expect("an embedded signing key must have a public half");
        key.common.key_id = Some(self.key.id().to_owned());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(key).expect("a key must serialize")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key.id())
    }
}

/// The bytes of two coordinates of P-256.
const ES256_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_key_has_the_id_that_kubernetes_derives() {
        for (key, pem) in [
            (SigningKey::Rs256, include_str!("test-signing-key.pub.pem")),
            (
                SigningKey::OtherRs256,
                include_str!("test-signing-key-2.pub.pem"),
            ),
            (
                SigningKey::Es256,
                include_str!("test-signing-key-es256.pub.pem"),
            ),
        ] {
            let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let der = STANDARD.decode(text).unwrap();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
            assert_eq!(key.id(), URL_SAFE_NO_PAD.encode(digest));
        }
    }
}
