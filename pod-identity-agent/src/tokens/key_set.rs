use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pod_identity_core::{BoundPod, ServiceAccountToken, VerifiedToken};
use serde_json::Value;

/// The public keys that a cluster signs service-account tokens with, by `kid`: a JSON Web Key Set
/// (RFC 7517) with keys for RS256 and ES256.
///
/// A set comes from elsewhere. Keys that cannot be used are left out, and named by
/// [`ignored`](Self::ignored).
#[derive(Default)]
pub(crate) struct KeySet {
    /// Nothing forbids an issuer to give several keys one `kid`.
    keys: BTreeMap<String, Vec<PublicKey>>,
    /// The keys as they were read, to be compared and stored.
    document: Vec<Value>,
    ignored: Vec<String>,
}

/// A text is not a set of keys that tokens can be verified with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("the key set is longer than {} KiB", KeySet::MAX_BYTES / 1024)]
    TooLong,
    #[error("the key set is not a JSON object with an array `keys`")]
    Json,
    #[error("the key set has no key that can be used{}", shown(.0))]
    NoKey(Vec<String>),
}

/// Why a token is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// No key has the `kid` of the token, or the token has none.
    UnknownKey,
    /// The signature is that of no key with the `kid` of the token, or the algorithm is not that key's.
    WrongSignature,
    /// The signature may be good, but the token is not one that a kubelet projects for a pod.
    NotOfPod,
}

struct PublicKey {
    algorithm: &'static str,
    key: ParsedPublicKey,
    /// The key as it was read, which tells it from one that had the same `kid` before.
    text: Arc<str>,
}

impl KeySet {
    /// The longest set that is read. A key of 4,096 bits takes about 800 bytes.
    pub(crate) const MAX_BYTES: usize = 64 * 1024;

    /// Reads a set. Members and keys that are not known are ignored, as RFC 7517 §5 wants it.
    ///
    /// # Errors
    /// Fails if the text is not a set, or has no key that can be used.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > Self::MAX_BYTES {
            return Err(KeySetError::TooLong);
        }
        let mut set: Value =
            serde_json::from_slice(text).map_err(|_quotes_input| KeySetError::Json)?;
        let Some(Value::Array(document)) = set.get_mut("keys").map(Value::take) else {
            return Err(KeySetError::Json);
        };
        let mut keys = Self::default();
        for (number, key) in (1..).zip(&document) {
            if let Err(reason) = keys.add(key) {
                keys.ignored.push(format!("key {number}: {reason}"));
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(keys.ignored));
        }
        keys.document = document;
        Ok(keys)
    }

    /// Whether there is none, so that no token can be verified.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// Whether there is a key with this `kid`.
    #[cfg(test)]
    pub(crate) fn has(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// The `kid`s of the keys.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Whether the key that a token was verified with is in the set: see
    /// [`VerifiedToken::verified_with`].
    pub(crate) fn holds(&self, verified_with: &str) -> bool {
        let mut keys = self.keys.values().flatten();
        keys.any(|key| *key.text == *verified_with)
    }

    /// The keys that were left out, with the reason. It quotes nothing from the set.
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The keys, as an array of JSON objects.
    pub(crate) fn document(&self) -> &[Value] {
        &self.document
    }

    /// Verifies the signature of a token with the keys that the token names, and reads the pod that it is
    /// bound to. The key decides about the algorithm, not the token. Times and audience are not checked.
    ///
    /// # Errors
    /// Fails with what is wrong, or not known, about the token.
    pub(crate) fn verify(&self, token: &ServiceAccountToken) -> Result<VerifiedToken, Unverified> {
        let header = token.header();
        let key_id = header.key_id.as_deref().ok_or(Unverified::UnknownKey)?;
        let keys = self.keys.get(key_id).ok_or(Unverified::UnknownKey)?;
        let (signed, signature) = token.signed();
        let has_signed = |key: &&PublicKey| {
            header.algorithm == key.algorithm && key.key.verify_sig(signed, signature).is_ok()
        };
        let key = keys.iter().find(has_signed);
        let key = key.ok_or(Unverified::WrongSignature)?;
        if header.is_critical {
            return Err(Unverified::NotOfPod);
        }
        let pod = BoundPod::of(token.claims()).ok_or(Unverified::NotOfPod)?;
        Ok(VerifiedToken::new(
            pod,
            token.claims().validity(),
            Arc::clone(&key.text),
        ))
    }

    fn add(&mut self, key: &Value) -> Result<(), &'static str> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let key_id = text("kid").ok_or("it has no `kid`")?;
        if key_id.len() > MAX_KEY_ID {
            return Err("its `kid` is too long");
        }
        if self.len() >= MAX_KEYS {
            return Err("the set has too many keys");
        }
        if text("use").is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures");
        }
        let number = |name: &str| {
            let digits = text(name).ok_or("it lacks a number")?;
            let digits = URL_SAFE_NO_PAD.decode(digits);
            digits.map_err(|_quotes_input| "a number in it is not base64url")
        };
        let (algorithm, public) = match text("kty") {
            Some("RSA") => ("RS256", rsa(&number("n")?, &number("e")?)?),
            Some("EC") if text("crv") == Some("P-256") => {
                ("ES256", p256(&number("x")?, &number("y")?)?)
            }
            _ => return Err("it is neither RSA nor P-256"),
        };
        if text("alg").is_some_and(|named| named != algorithm) {
            return Err("it is for an algorithm other than RS256 and ES256");
        }
        let public = PublicKey {
            algorithm,
            key: public,
            text: key.to_string().into(),
        };
        if self.holds(&public.text) {
            return Err("it is in the set already");
        }
        self.keys.entry(key_id.to_owned()).or_default().push(public);
        Ok(())
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    let start = modulus.iter().take_while(|byte| **byte == 0).count();
    let n = modulus.get(start..).unwrap_or_default();
    // The upper bounds keep a verification cheap.
    if !(256..=512).contains(&n.len()) {
        return Err("its modulus has not 2048 to 4096 bits");
    }
    if exponent.len() > 4 {
        return Err("its exponent has more than 32 bits");
    }
    // The library accepts an even one, with which nobody can sign. With 1 everybody can.
    let value = exponent
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    if value < 3 || value % 2 == 0 {
        return Err("its exponent is not an odd number of at least 3");
    }
    let key = RsaPublicKeyComponents { n, e: exponent };
    key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_rejected| "it is not an RSA key")
}

fn p256(x: &[u8], y: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    if x.len() != 32 || y.len() != 32 {
        return Err("its coordinates have not 32 bytes");
    }
    // SEC 1 §2.3.3: an uncompressed point.
    let point = [&[4], x, y].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .map_err(|_rejected| "its point is not on the curve")
}

fn shown(ignored: &[String]) -> String {
    match ignored.first() {
        Some(first) => format!(": {first}"),
        None => String::new(),
    }
}

/// A cluster has one key, and two or three while it rotates.
const MAX_KEYS: usize = 64;

/// Kubernetes uses 43 characters.
const MAX_KEY_ID: usize = 128;

#[cfg(test)]
mod tests {
    use pod_identity_core::Timestamp;
    use pod_identity_testkit::{Issuer, SigningKey};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    fn keys(keys: &Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn of(issuer: &Issuer) -> KeySet {
        KeySet::parse(issuer.jwks().as_bytes()).unwrap()
    }

    fn as_json(issuer: &Issuer) -> Value {
        serde_json::from_str(&issuer.jwks()).unwrap()
    }

    fn parsed(token: &str) -> ServiceAccountToken {
        ServiceAccountToken::parse(token).unwrap()
    }

    #[test]
    fn a_token_is_verified_with_the_key_that_it_names() {
        let issuer = Issuer::new();
        let builder = issuer.token("shop", "cart");
        let old = parsed(&builder.mint(NOW));
        for key in [SigningKey::OtherRs256, SigningKey::Es256] {
            issuer.sign_with(key);
            let set = of(&issuer);
            for token in [&old, &parsed(&builder.mint(NOW))] {
                let verified = set.verify(token).unwrap();
                assert_eq!(&*verified.pod().name, "cart-0");
                assert_eq!(verified.validity(), token.claims().validity());
            }
        }
        issuer.forget_old_keys();
        assert_eq!(
            of(&issuer).verify(&old).unwrap_err(),
            Unverified::UnknownKey
        );
    }

    #[test]
    fn a_key_that_takes_over_the_kid_of_another_is_another_key() {
        let issuer = Issuer::new();
        let old = of(&issuer);
        let token = parsed(&issuer.token("shop", "cart").mint(NOW));
        let verified = old.verify(&token).unwrap();
        issuer.sign_with(SigningKey::OtherRs256);
        issuer.forget_old_keys();
        let mut reused = as_json(&issuer)["keys"][0].clone();
        reused["kid"] = json!(Issuer::KEY_ID);
        let new = keys(&json!([reused])).unwrap();
        assert_ne!(old, new);
        assert!(old.holds(verified.verified_with()));
        assert!(!new.holds(verified.verified_with()));
        assert_eq!(new.verify(&token).unwrap_err(), Unverified::WrongSignature);
    }

    #[test]
    fn a_wrong_signature_or_another_algorithm_is_found() {
        let issuer = Issuer::new();
        let set = of(&issuer);
        let builder = issuer.token("shop", "cart");
        let forged = parsed(&builder.clone().forged().mint(NOW));
        assert_eq!(set.verify(&forged).unwrap_err(), Unverified::WrongSignature);
        let good = builder.mint(NOW);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        let header = String::from_utf8(header).unwrap();
        let with = |header: &str| {
            let header = URL_SAFE_NO_PAD.encode(header);
            set.verify(&parsed(&format!("{header}.{claims}.{signature}")))
        };
        assert!(with(&header).is_ok());
        for algorithm in ["HS256", "ES256", "RS512", "PS256", "rs256"] {
            let header = header.replace("RS256", algorithm);
            assert_eq!(
                with(&header).unwrap_err(),
                Unverified::WrongSignature,
                "{header}"
            );
        }
        let header = header.replace(Issuer::KEY_ID, "another");
        assert_eq!(with(&header).unwrap_err(), Unverified::UnknownKey);
    }

    #[test]
    fn a_token_that_no_kubelet_projects_is_of_no_pod() {
        let issuer = Issuer::new();
        let builder = issuer.token("shop", "cart").without_claim("kubernetes.io");
        let token = parsed(&builder.mint(NOW));
        assert_eq!(
            of(&issuer).verify(&token).unwrap_err(),
            Unverified::NotOfPod
        );
    }

    #[test]
    fn a_key_that_cannot_be_used_is_left_out_and_named_and_the_others_are_used() {
        let issuer = Issuer::new();
        issuer.sign_with(SigningKey::Es256);
        let good = as_json(&issuer);
        let good = good["keys"].as_array().unwrap();
        let (rsa, ec) = (&good[0], &good[1]);
        let changed = |key: &Value, name: &str, value: Value| {
            let mut key = key.clone();
            key[name] = value;
            key
        };
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let long = URL_SAFE_NO_PAD.encode([0xff; 513]);
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        let exponent = URL_SAFE_NO_PAD.encode([0xff; 5]);
        for odd in [
            json!(null),
            json!([]),
            json!("key"),
            changed(rsa, "kid", json!(null)),
            changed(rsa, "kid", json!("x".repeat(200))),
            changed(rsa, "kty", json!("oct")),
            changed(rsa, "use", json!("enc")),
            changed(rsa, "alg", json!("RS512")),
            changed(rsa, "n", json!(short)),
            changed(rsa, "n", json!(long)),
            changed(rsa, "n", json!("")),
            changed(rsa, "n", json!("!")),
            changed(rsa, "e", json!("")),
            changed(rsa, "e", json!(zeros)),
            changed(rsa, "e", json!(exponent)),
            changed(rsa, "e", json!("Ag")),
            changed(rsa, "e", json!("AQ")),
            changed(rsa, "e", json!("AAAAAQ")),
            changed(ec, "crv", json!("P-384")),
            changed(ec, "x", json!(zeros)),
            changed(ec, "y", json!("AQ")),
        ] {
            let set = keys(&json!([odd, rsa, ec, rsa])).unwrap();
            assert_eq!(set.len(), 2, "{odd}");
            assert_eq!(set.ignored().len(), 2, "{odd}: {:?}", set.ignored());
            assert!(set.ignored()[1].contains("in the set already"));
            let alone = keys(&json!([odd]));
            assert!(matches!(alone, Err(KeySetError::NoKey(_))), "{odd}");
        }
    }

    #[test]
    fn a_token_is_verified_with_each_key_of_its_kid() {
        let issuer = Issuer::new();
        let first = as_json(&issuer)["keys"][0].clone();
        issuer.sign_with(SigningKey::Es256);
        let second = as_json(&issuer)["keys"][1].clone();
        let mut renamed = first.clone();
        renamed["kid"] = second["kid"].clone();
        let token = ServiceAccountToken::parse(&issuer.token("shop", "cart").mint(NOW)).unwrap();
        for both in [json!([renamed, second]), json!([second, renamed])] {
            let both = keys(&both).unwrap();
            assert_eq!((both.len(), both.ignored().len()), (2, 0));
            let verified = both.verify(&token).unwrap();
            assert!(both.holds(verified.verified_with()));
        }
        let other = keys(&json!([renamed])).unwrap();
        assert_eq!(
            other.verify(&token).unwrap_err(),
            Unverified::WrongSignature
        );
    }

    #[test]
    fn what_is_not_a_set_is_refused_whatever_it_is() {
        let nested = "[".repeat(10_000);
        for text in ["", "{}", "[]", "null", r#"{"keys":{}}"#, "\u{0}", &nested] {
            assert_eq!(
                KeySet::parse(text.as_bytes()),
                Err(KeySetError::Json),
                "{text}"
            );
        }
        let long = vec![b' '; KeySet::MAX_BYTES + 1];
        assert_eq!(KeySet::parse(&long), Err(KeySetError::TooLong));
        let issuer = Issuer::new();
        let key = &as_json(&issuer)["keys"][0];
        let crowd: Vec<Value> = (0..100)
            .map(|number| {
                let mut key = key.clone();
                key["kid"] = json!(number.to_string());
                key
            })
            .collect();
        let set = keys(&json!(crowd)).unwrap();
        assert_eq!((set.len(), set.ignored().len()), (64, 36));
    }
}
