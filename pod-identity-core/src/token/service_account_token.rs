use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{ClaimError, JsonObject, KubernetesName, Secret, Timestamp, Validity};

/// A projected service-account token: a JWT in its compact form, about 1.2 KB.
///
/// Parsing checks the form: three parts of canonical base64url, a signing algorithm, and an expiry. It does not
/// verify the signature, so the claims may be forged; hence the name of [`UnverifiedClaims`].
///
/// Canonical base64url has no padding and no set bits after its last byte. Otherwise one token would have several
/// encodings, and could fill a cache under several keys.
///
/// ```
/// use pod_identity_core::{ServiceAccountToken, TokenError};
///
/// assert_eq!(ServiceAccountToken::parse("Bearer x").unwrap_err().to_string(),
///     "token is malformed: token contains an invalid number of segments");
/// assert_eq!(ServiceAccountToken::parse("").unwrap_err(), TokenError::Empty);
/// ```
#[derive(Clone)]
pub struct ServiceAccountToken {
    text: Secret,
    header: TokenHeader,
    claims: UnverifiedClaims,
    signature: Zeroizing<Vec<u8>>,
}

impl ServiceAccountToken {
    /// Parses a token with its header and claims.
    ///
    /// # Errors
    /// [`TokenError`] if the text is empty or not a signed JWT with an expiry.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Segments);
        };
        let JsonObject(header): JsonObject<TokenHeader> = json(header, "header")?;
        if header.algorithm.is_empty() || header.algorithm.eq_ignore_ascii_case("none") {
            return Err(TokenError::Unsigned);
        }
        let JsonObject(claims): JsonObject<RawClaims> = json(payload, "claim")?;
        let signature = decode(signature, "signature")?;
        if signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        Ok(Self {
            text: Secret::from(text.to_owned()),
            header,
            claims: claims.try_into()?,
            signature,
        })
    }

    /// Returns the text of the token. It must not reach a log, an error, a metric or a `Debug`.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Returns the claims, which have not been verified.
    pub fn claims(&self) -> &UnverifiedClaims {
        &self.claims
    }

    /// Returns the header, which has not been verified either.
    pub fn header(&self) -> &TokenHeader {
        &self.header
    }

    /// Returns the signed bytes, which are header and claims as sent, and the signature.
    pub fn signed(&self) -> (&[u8], &[u8]) {
        let text = self.text.expose();
        let (signed, _signature) = text.rsplit_once('.').unwrap_or((text, ""));
        (signed.as_bytes(), &self.signature)
    }

    /// Returns the digest of this token, its key in a cache.
    #[cfg(feature = "digest")]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.text.expose().as_bytes())
    }
}

impl fmt::Debug for ServiceAccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountToken")
            .field("text", &self.text)
            .field("claims", &self.claims)
            .finish()
    }
}

/// The header of a token: RFC 7515 §4.1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct TokenHeader {
    /// `alg`: the algorithm of the signature, such as `RS256`. A verifier must choose the algorithm by the key and
    /// not by this member.
    #[serde(default, rename = "alg")]
    pub algorithm: String,
    /// `kid`: the name of the key. `None` if it is absent or not a string.
    #[serde(default, rename = "kid", deserialize_with = "text")]
    pub key_id: Option<String>,
    /// Whether there is a `crit`, which lists parameters that a verifier must understand to accept the token.
    #[serde(default, rename = "crit", deserialize_with = "is_present")]
    pub is_critical: bool,
}

/// The claims of a token that has not been verified. All of them may be forged.
///
/// Names of Kubernetes objects are [`KubernetesName`]s and can be logged as they are. A claim that is not such a
/// name is `None`. Issuer, subject and audience are arbitrary text, which has to be escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnverifiedClaims {
    /// `iss`: the cluster's OpenID issuer.
    pub issuer: Option<String>,
    /// `sub`: `system:serviceaccount:<namespace>:<name>`.
    pub subject: Option<String>,
    /// `aud`: the services that may accept the token. For Pod Identity it is `pods.eks.amazonaws.com`.
    pub audience: Vec<String>,
    /// `exp`: the token is not accepted at or after this time.
    pub expires_at: Timestamp,
    /// `nbf`: the token is not accepted before this time.
    pub not_before: Option<Timestamp>,
    /// `iat`: when the token was issued.
    pub issued_at: Option<Timestamp>,
    /// The namespace of the pod and its service account, from `kubernetes.io`.
    pub namespace: Option<KubernetesName>,
    /// The name of the service account, from `kubernetes.io`.
    pub service_account: Option<KubernetesName>,
    /// The UID of the service account, from `kubernetes.io`.
    pub service_account_uid: Option<KubernetesName>,
    /// The name of the pod, from `kubernetes.io`.
    pub pod: Option<KubernetesName>,
    /// The UID of the pod, from `kubernetes.io`.
    pub pod_uid: Option<KubernetesName>,
    /// The name of the node, from `kubernetes.io`. Absent before Kubernetes 1.30.
    pub node: Option<KubernetesName>,
}

impl UnverifiedClaims {
    /// Checks that the token is valid at `now`, and for `audience`.
    ///
    /// `leeway` applies only to `nbf`, as in [`Validity::check`].
    ///
    /// # Errors
    /// [`ClaimError`], with the official agent's text where it has one.
    pub fn check(
        &self,
        now: Timestamp,
        leeway: Duration,
        audience: &str,
    ) -> Result<(), ClaimError> {
        self.validity().check(now, leeway)?;
        match self.audience.iter().any(|named| named == audience) {
            true => Ok(()),
            false => Err(ClaimError::Audience),
        }
    }

    /// Returns the period in which the token is valid.
    pub fn validity(&self) -> Validity {
        Validity {
            expires_at: self.expires_at,
            not_before: self.not_before,
        }
    }
}

/// Why a text is not a service-account token. It does not contain the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is empty. Remedy: send the content of the projected token file.
    #[error("token is empty")]
    Empty,
    /// The text is not three parts joined by dots. Remedy: send the token alone, without `Bearer `.
    #[error("token is malformed: token contains an invalid number of segments")]
    Segments,
    /// A part is not canonical base64url.
    #[error("token is malformed: could not base64 decode {part}")]
    Base64 {
        /// `header`, `claim` or `signature`, as the official agent names them.
        part: &'static str,
    },
    /// A part is not the expected JSON object.
    #[error("token is malformed: could not JSON decode {part}")]
    Json {
        /// `header` or `claim`, as the official agent names them.
        part: &'static str,
    },
    /// `alg` is `none` or absent, or the signature is empty.
    #[error("token is unverifiable: it is not signed")]
    Unsigned,
    /// There is no `exp`.
    #[error("token has invalid claims: exp claim is required")]
    NoExpiry,
}

/// The SHA-256 of the bytes of a token, its key in a cache.
///
/// The digest includes the signature. Two tokens with the same claims and different signatures must not share
/// credentials, because one of them may be forged.
#[cfg(feature = "digest")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest([u8; 32]);

#[cfg(feature = "digest")]
impl TokenDigest {
    /// Returns the digest of the bytes as sent, which need not be a well-formed token.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;

        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(feature = "digest")]
impl fmt::Debug for TokenDigest {
    /// Prints the first four bytes, which distinguish entries in a log and cannot serve as a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "TokenDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

fn text<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(value)? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    })
}

fn is_present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_any| true)
}

#[derive(Deserialize)]
struct RawClaims {
    iss: Option<String>,
    sub: Option<String>,
    #[serde(default)]
    aud: Audience,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<JsonObject<Kubernetes>>,
}

/// RFC 7519 §4.1.3: one string or an array of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

#[derive(Default, Deserialize)]
struct Kubernetes {
    namespace: Option<String>,
    pod: Option<JsonObject<Named>>,
    serviceaccount: Option<JsonObject<Named>>,
    node: Option<JsonObject<Named>>,
}

#[derive(Default, Deserialize)]
struct Named {
    name: Option<String>,
    uid: Option<String>,
}

impl TryFrom<RawClaims> for UnverifiedClaims {
    type Error = TokenError;

    fn try_from(raw: RawClaims) -> Result<Self, TokenError> {
        let JsonObject(kubernetes) = raw.kubernetes.unwrap_or_default();
        let JsonObject(pod) = kubernetes.pod.unwrap_or_default();
        let label = |name: Option<String>| KubernetesName::label(&name?);
        let subdomain = |name: Option<String>| KubernetesName::subdomain(&name?);
        let name_of = |object: Option<JsonObject<Named>>| subdomain(object?.0.name);
        let JsonObject(service_account) = kubernetes.serviceaccount.unwrap_or_default();
        Ok(Self {
            issuer: raw.iss,
            subject: raw.sub,
            audience: match raw.aud {
                Audience::Many(all) => all,
                Audience::One(one) => vec![one],
            },
            expires_at: raw.exp.map(numeric_date).ok_or(TokenError::NoExpiry)?,
            not_before: raw.nbf.map(numeric_date),
            issued_at: raw.iat.map(numeric_date),
            namespace: label(kubernetes.namespace),
            service_account: subdomain(service_account.name),
            service_account_uid: label(service_account.uid),
            pod: subdomain(pod.name),
            pod_uid: label(pod.uid),
            node: name_of(kubernetes.node),
        })
    }
}

/// RFC 7519 §2, NumericDate: seconds since the epoch, a fraction allowed.
fn numeric_date(seconds: f64) -> Timestamp {
    Timestamp::from_unix_millis((seconds * 1000.0).floor() as i64)
}

fn json<T: for<'de> Deserialize<'de>>(part: &str, name: &'static str) -> Result<T, TokenError> {
    let bytes = decode(part, name)?;
    // The cause is dropped on purpose: serde quotes the input, and the input is a secret.
    serde_json::from_slice(&bytes).map_err(|_quotes_input| TokenError::Json { part: name })
}

fn decode(part: &str, name: &'static str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map(Zeroizing::new)
        .map_err(|_quotes_input| TokenError::Base64 { part: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.c2lnbmF0dXJl")
    }

    const RS256: &str = r#"{"alg":"RS256"}"#;

    #[test]
    fn every_claim_of_a_projected_token_is_read() {
        let text = token(
            RS256,
            r#"{"aud":["pods.eks.amazonaws.com"],"exp":2000,"iat":1000,"nbf":1000.5,"iss":"https://issuer",
                "sub":"system:serviceaccount:shop:cart","kubernetes.io":{"namespace":"shop",
                "node":{"name":"n1","uid":"u1"},"pod":{"name":"cart-0","uid":"u2"},
                "serviceaccount":{"name":"cart","uid":"u3"}}}"#,
        );
        let parsed = ServiceAccountToken::parse(&text).unwrap();
        let claims = parsed.claims();
        assert_eq!(claims.issuer.as_deref(), Some("https://issuer"));
        assert_eq!(
            claims.subject.as_deref(),
            Some("system:serviceaccount:shop:cart")
        );
        assert_eq!(claims.audience, ["pods.eks.amazonaws.com"]);
        assert_eq!(claims.expires_at, Timestamp::from_unix_secs(2000));
        assert_eq!(
            claims.not_before,
            Some(Timestamp::from_unix_millis(1_000_500))
        );
        assert_eq!(claims.issued_at, Some(Timestamp::from_unix_secs(1000)));
        assert_eq!(claims.namespace.as_deref(), Some("shop"));
        assert_eq!(claims.service_account.as_deref(), Some("cart"));
        assert_eq!(
            (claims.pod.as_deref(), claims.pod_uid.as_deref()),
            (Some("cart-0"), Some("u2"))
        );
        assert_eq!(claims.node.as_deref(), Some("n1"));
        assert_eq!(parsed.expose(), text);
    }

    #[test]
    fn a_claimed_name_that_kubernetes_would_not_allow_is_absent() {
        let text = token(
            RS256,
            r#"{"exp":2000,"kubernetes.io":{"namespace":"kube.system","node":{"name":null},
                "pod":{"name":"cart-0\n{}","uid":"a b"},"serviceaccount":{"name":"Cart"}}}"#,
        );
        let parsed = ServiceAccountToken::parse(&text).unwrap();
        let claims = parsed.claims();
        for name in [
            &claims.namespace,
            &claims.service_account,
            &claims.pod,
            &claims.pod_uid,
            &claims.node,
        ] {
            assert_eq!(*name, None);
        }
    }

    #[test]
    fn what_is_not_a_signed_token_with_an_expiry_is_refused_without_being_quoted() {
        let good = token(RS256, r#"{"exp":2000}"#);
        let unsigned = good.rsplit_once('.').unwrap().0.to_owned() + ".";
        for (text, error) in [
            (String::new(), TokenError::Empty),
            ("Bearer x".into(), TokenError::Segments),
            ("a.b.c.d".into(), TokenError::Segments),
            ("!.e30.x".into(), TokenError::Base64 { part: "header" }),
            (good.clone() + "=", TokenError::Base64 { part: "signature" }),
            (token("7", "{}"), TokenError::Json { part: "header" }),
            (
                token(RS256, "\"SECRET\""),
                TokenError::Json { part: "claim" },
            ),
            // Members in their order are no object.
            (
                token(r#"["RS256",null]"#, r#"{"exp":2000}"#),
                TokenError::Json { part: "header" },
            ),
            (
                token(RS256, "[null,null,[],2000,null,null,null]"),
                TokenError::Json { part: "claim" },
            ),
            (
                token(
                    RS256,
                    r#"{"exp":2000,"kubernetes.io":["shop",null,null,null]}"#,
                ),
                TokenError::Json { part: "claim" },
            ),
            (
                token(
                    RS256,
                    r#"{"exp":2000,"kubernetes.io":{"pod":["cart-0","u1"]}}"#,
                ),
                TokenError::Json { part: "claim" },
            ),
            (
                token(r#"{"alg":"None"}"#, r#"{"exp":2000}"#),
                TokenError::Unsigned,
            ),
            (token("{}", r#"{"exp":2000}"#), TokenError::Unsigned),
            (unsigned, TokenError::Unsigned),
            (token(RS256, "{}"), TokenError::NoExpiry),
        ] {
            let refused = ServiceAccountToken::parse(&text).unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!format!("{refused} {refused:?}").contains("SECRET"));
        }
    }

    #[test]
    fn a_signature_with_stray_trailing_bits_is_another_spelling_and_refused() {
        let good = token(RS256, r#"{"exp":2000}"#);
        let stray = good.strip_suffix('l').unwrap().to_owned() + "m";
        assert!(ServiceAccountToken::parse(&good).is_ok());
        let short = good.strip_suffix("c2lnbmF0dXJl").unwrap().to_owned();
        assert!(ServiceAccountToken::parse(&(short.clone() + "AQ")).is_ok());
        assert!(ServiceAccountToken::parse(&(short + "AR")).is_err());
        assert!(
            ServiceAccountToken::parse(&stray).is_ok(),
            "a full quantum has no stray bits"
        );
    }

    #[test]
    fn claims_are_checked_against_time_and_audience() {
        let text = token(
            RS256,
            r#"{"exp":2000,"nbf":1000,"aud":"pods.eks.amazonaws.com"}"#,
        );
        let token = ServiceAccountToken::parse(&text).unwrap();
        let check = |now, audience| {
            let now = Timestamp::from_unix_secs(now);
            token.claims().check(now, Duration::from_secs(5), audience)
        };
        assert_eq!(check(995, "pods.eks.amazonaws.com"), Ok(()));
        assert_eq!(
            check(994, "pods.eks.amazonaws.com"),
            Err(ClaimError::NotYetValid)
        );
        assert_eq!(check(1999, "pods.eks.amazonaws.com"), Ok(()));
        assert_eq!(
            check(2000, "pods.eks.amazonaws.com"),
            Err(ClaimError::Expired)
        );
        assert_eq!(check(1500, "sts.amazonaws.com"), Err(ClaimError::Audience));
    }

    #[test]
    fn the_header_and_what_is_signed_are_read() {
        let text = token(r#"{"alg":"RS256","kid":"k1"}"#, r#"{"exp":2000}"#);
        let parsed = ServiceAccountToken::parse(&text).unwrap();
        let header = parsed.header();
        assert_eq!(header.algorithm, "RS256");
        assert_eq!(header.key_id.as_deref(), Some("k1"));
        assert!(!header.is_critical);
        let (signed, signature) = parsed.signed();
        assert_eq!(
            signed,
            text.strip_suffix(".c2lnbmF0dXJl").unwrap().as_bytes()
        );
        assert_eq!(signature, b"signature");
        for (odd, is_critical) in [
            (r#"{"alg":"RS256","kid":7}"#, false),
            (r#"{"alg":"RS256","crit":["exp"]}"#, true),
            (r#"{"alg":"RS256","crit":null}"#, true),
        ] {
            let parsed = ServiceAccountToken::parse(&token(odd, r#"{"exp":2000}"#)).unwrap();
            assert_eq!(parsed.header().key_id, None, "{odd}");
            assert_eq!(parsed.header().is_critical, is_critical, "{odd}");
        }
    }

    #[test]
    fn debug_tells_claims_and_length_only() {
        let text = token(RS256, r#"{"exp":2000}"#);
        let debug = format!("{:?}", ServiceAccountToken::parse(&text).unwrap());
        assert!(
            debug.contains("bytes") && !debug.contains("c2lnbmF0dXJl"),
            "{debug}"
        );
    }

    #[cfg(feature = "digest")]
    #[test]
    fn a_digest_is_the_sha_256_of_all_bytes_and_debug_tells_four_of_them_only() {
        let digest = TokenDigest::of(b"header.claims.signature");
        assert_eq!(
            digest.as_bytes().map(|byte| format!("{byte:02x}")).concat(),
            "d75c7d5abfc3b40ffe10a6f88e944df66c57b19ddc919c1ee49911beab59690c"
        );
        assert_eq!(format!("{digest:?}"), "TokenDigest(d75c7d5a…)");
    }
}
