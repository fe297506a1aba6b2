use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use pod_identity_core::{ServiceAccountToken, TokenError, UnverifiedClaims};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::sync::lock;
use crate::token::key_set::KeySet;
use crate::token::keys::KeyPair;
use crate::{KeySetError, SigningKey};

/// A cluster's OpenID issuer: it mints projected service-account tokens and verifies them.
///
/// Every issuer signs with the same published test key unless [`sign_with`](Self::sign_with) changes it, so two
/// issuers with one URL accept each other's tokens. A clone is the same issuer.
///
/// ```
/// use pod_identity_core::{ServiceAccountToken, Timestamp};
/// use pod_identity_testkit::Issuer;
///
/// let issuer = Issuer::new();
/// let now = Timestamp::from_unix_secs(1_772_366_400);
/// let token = issuer.token("shop", "cart").pod("cart-0").mint(now);
///
/// let claims = issuer.verify(&token)?;
/// assert_eq!(claims.subject.as_deref(), Some("system:serviceaccount:shop:cart"));
/// assert_eq!(ServiceAccountToken::parse(&token)?.claims(), &claims);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    url: String,
    region: String,
    /// The keys that tokens may be signed with; the last one signs.
    keys: Mutex<Vec<&'static KeyPair>>,
    /// The keys of a cluster that exists. With them, tokens signed with the published `keys` are refused. The
    /// lock of `keys` may be taken under this one, never the other way round.
    trusted: Mutex<Option<KeySet>>,
}

impl Issuer {
    /// The `kid` of the first signing key.
    pub const KEY_ID: &str = SigningKey::Rs256.id();

    /// Returns an issuer in `us-west-2`.
    pub fn new() -> Self {
        Self::for_region("us-west-2")
    }

    /// Returns an issuer in a region: `https://oidc.eks.{region}.amazonaws.com/id/{id}`, with the id of the AWS
    /// documentation.
    pub fn for_region(region: &str) -> Self {
        Self::for_cluster(region, "EXAMPLED539D4633E53DE1B71EXAMPLE")
    }

    /// Returns the issuer of one cluster. `id` is the last part of its URL: 32 digits and upper-case letters
    /// in EKS.
    pub fn for_cluster(region: &str, id: &str) -> Self {
        let url = format!("https://oidc.eks.{region}.amazonaws.com/id/{id}");
        Self::with_url(region, &url)
    }

    /// Returns an issuer with any URL.
    pub fn with_url(region: &str, url: &str) -> Self {
        Self(Arc::new(Inner {
            url: url.to_owned(),
            region: region.to_owned(),
            keys: Mutex::new(vec![SigningKey::default().pair()]),
            trusted: Mutex::default(),
        }))
    }

    /// Accepts the tokens that a real cluster signs, and no others: from now on those of
    /// [`token`](Self::token) are refused, because their key is published.
    ///
    /// `jwks` is the cluster's JSON Web Key Set (RFC 7517), which `kubectl get --raw /openid/v1/jwks`
    /// prints. Call this again when the cluster has rotated its keys.
    ///
    /// # Errors
    /// [`KeySetError`] if the text is not such a set. The issuer is then as it was.
    pub fn trust_cluster(&self, jwks: &str) -> Result<(), KeySetError> {
        let keys = KeySet::parse(jwks)?;
        *lock(&self.0.trusted) = Some(keys);
        Ok(())
    }

    /// Returns the URL, which its tokens have in `iss`.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Returns the region of the cluster.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Signs with this key from now on, as a cluster does that rotates its keys. Tokens of the old keys are
    /// accepted until [`forget_old_keys`](Self::forget_old_keys).
    pub fn sign_with(&self, key: SigningKey) {
        let mut keys = lock(&self.0.keys);
        keys.retain(|known| known.key != key);
        keys.push(key.pair());
    }

    /// Accepts only tokens of the key that signs now.
    pub fn forget_old_keys(&self) {
        let mut keys = lock(&self.0.keys);
        let old = keys.len().saturating_sub(1);
        keys.drain(..old);
    }

    /// Returns the claims of a token after checking its signature and issuer. It does not check times and
    /// audience: [`UnverifiedClaims::check`] does.
    ///
    /// # Errors
    /// [`VerifyError`] if the token is malformed, signed with another key, or from another issuer.
    pub fn verify(&self, token: &str) -> Result<UnverifiedClaims, VerifyError> {
        let parsed = ServiceAccountToken::parse(token).map_err(VerifyError::Malformed)?;
        if has_critical_parameters(token) {
            return Err(VerifyError::Critical);
        }
        let header = jsonwebtoken::decode_header(token);
        let id = header.ok().and_then(|header| header.kid);
        if let Some(trusted) = &*lock(&self.0.trusted) {
            let key = trusted.key(id.as_deref()).ok_or(VerifyError::Signature)?;
            self.verify_with(token, key.algorithm, &key.verifying)?;
        } else {
            let key = self.key(id.as_deref()).ok_or(VerifyError::Signature)?;
            self.verify_with(token, key.algorithm, &key.verifying)?;
        }
        Ok(parsed.claims().clone())
    }

    fn verify_with(
        &self,
        token: &str,
        algorithm: Algorithm,
        key: &DecodingKey,
    ) -> Result<(), VerifyError> {
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims = HashSet::from(["iss".to_owned()]);
        validation.set_issuer(&[self.url()]);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<IgnoredAny>(token, key, &validation);
        decoded.map(drop).map_err(|error| match error.kind() {
            ErrorKind::InvalidIssuer | ErrorKind::MissingRequiredClaim(_) => VerifyError::Issuer,
            _ => VerifyError::Signature,
        })
    }

    /// Returns the public keys of the accepted signatures as an API server serves them at
    /// `/openid/v1/jwks`: a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> String {
        self.key_set().to_string()
    }

    /// Returns the same as a value.
    pub(crate) fn key_set(&self) -> Value {
        if let Some(trusted) = &*lock(&self.0.trusted) {
            return trusted.document.clone();
        }
        let keys = lock(&self.0.keys);
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        json!({ "keys": keys })
    }

    /// Returns the algorithms of its keys, such as `RS256`.
    pub(crate) fn algorithms(&self) -> Vec<String> {
        let algorithms: Vec<Algorithm> = match &*lock(&self.0.trusted) {
            Some(trusted) => trusted.algorithms().collect(),
            None => lock(&self.0.keys).iter().map(|key| key.algorithm).collect(),
        };
        let mut names: Vec<String> = algorithms.iter().map(|name| format!("{name:?}")).collect();
        names.sort();
        names.dedup();
        names
    }

    fn key(&self, id: Option<&str>) -> Option<&'static KeyPair> {
        let keys = lock(&self.0.keys);
        keys.iter()
            .find(|known| Some(known.key.id()) == id)
            .copied()
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> String {
        self.compact(claims, |key, message| key.sign(message))
    }

    /// As [`sign`](Self::sign), with random bytes of the same length as signature.
    pub(crate) fn forge(&self, claims: &impl Serialize) -> String {
        self.compact(claims, |key, _message| key.forge())
    }

    fn compact(&self, claims: &impl Serialize, sign: impl Fn(&KeyPair, &[u8]) -> String) -> String {
        let key = lock(&self.0.keys).last().copied();
        let key = key.expect("an issuer must have a key");
        let header = Header {
            kid: Some(key.key.id().to_owned()),
            // The API server leaves `typ` out.
            typ: None,
            ..Header::new(key.algorithm)
        };
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = sign(key, message.as_bytes());
        format!("{message}.{signature}")
    }
}

/// "If any of the listed extension Header Parameters are not understood and supported by the recipient, then the
/// JWS is invalid" (RFC 7515 §4.1.11). This recipient supports none.
fn has_critical_parameters(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header = serde_json::from_slice::<Value>(&header).unwrap_or_default();
    header.get("crit").is_some()
}

/// Encodes a part of a JWT.
fn part(of: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(of).expect("a header and claims must serialize"))
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("url", &self.0.url)
            .finish_non_exhaustive()
    }
}

/// Why an issuer does not accept a token. The error never contains the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is not a signed JWT with an expiry.
    #[error(transparent)]
    Malformed(TokenError),
    /// The token was signed with a key that the issuer does not accept, or no longer accepts. Mint it with this
    /// [`Issuer`].
    #[error("token signature is invalid")]
    Signature,
    /// The header has the parameter `crit`: it demands an extension that no cluster uses.
    #[error("token has critical header parameters that are not supported")]
    Critical,
    /// `iss` is absent or names another issuer. Use the same [`Issuer`] on both sides.
    #[error("token has an invalid issuer")]
    Issuer,
}
