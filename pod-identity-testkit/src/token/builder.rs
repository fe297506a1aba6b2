use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pod_identity_core::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::Issuer;
use crate::token::ids::uuid_of;

/// A projected service-account token before it is signed.
///
/// Its defaults are those of kubelet: audience `pods.eks.amazonaws.com`, 24 hours, issued when minted,
/// for the pod `{service account}-0`. [`mint`](Self::mint) does not consume it, so one builder makes every
/// token of a pod.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::Timestamp;
/// use pod_identity_testkit::Issuer;
///
/// let builder = Issuer::new().token("shop", "cart").lifetime(Duration::from_secs(600));
/// let now = Timestamp::from_unix_secs(1_772_366_400);
/// assert_ne!(builder.mint(now), builder.mint(now), "each has its own jti");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a token comes from `mint`"]
pub struct TokenBuilder {
    issuer: Issuer,
    namespace: String,
    service_account: String,
    audience: Vec<String>,
    lifetime: Duration,
    issued_at: Option<Timestamp>,
    pod: String,
    node: Option<String>,
    jti: bool,
    overrides: Vec<(String, Option<Value>)>,
    signature: Signature,
}

#[derive(Debug, Clone, Copy)]
enum Signature {
    Good,
    Forged,
    None,
}

impl Issuer {
    /// Returns a builder of tokens for a pod of this service account.
    pub fn token(
        &self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> TokenBuilder {
        TokenBuilder::new(self.clone(), namespace.into(), service_account.into())
    }
}

impl TokenBuilder {
    /// The audience of Pod Identity: `pods.eks.amazonaws.com`.
    pub const AUDIENCE: &str = "pods.eks.amazonaws.com";

    fn new(issuer: Issuer, namespace: String, service_account: String) -> Self {
        let node = format!("ip-10-0-0-1.{}.compute.internal", issuer.region());
        Self {
            issuer,
            audience: vec![Self::AUDIENCE.to_owned()],
            lifetime: Duration::from_secs(24 * 60 * 60),
            issued_at: None,
            pod: format!("{service_account}-0"),
            node: Some(node),
            jti: true,
            overrides: Vec::new(),
            signature: Signature::Good,
            namespace,
            service_account,
        }
    }

    /// Sets `aud` to this one audience instead of [`AUDIENCE`](Self::AUDIENCE).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = vec![audience.into()];
        self
    }

    /// Sets the time from `iat` to `exp`, in whole seconds. Defaults to 24 hours.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets `iat` and `nbf`, in whole seconds. Defaults to the time of minting.
    pub fn issued_at(mut self, issued_at: Timestamp) -> Self {
        self.issued_at = Some(issued_at);
        self
    }

    /// Sets the pod's name. Defaults to `{service account}-0`. Namespace and name determine the uid.
    pub fn pod(mut self, name: impl Into<String>) -> Self {
        self.pod = name.into();
        self
    }

    /// Sets the node's name.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Leaves out `node` and `jti`, as Kubernetes did before 1.30.
    pub fn before_1_30(mut self) -> Self {
        self.node = None;
        self.jti = false;
        self
    }

    /// Sets any claim to any value, as in `claim("exp", "tomorrow")`.
    ///
    /// # Panics
    /// If the value cannot be serialized to JSON.
    pub fn claim(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a claim must be JSON");
        self.overrides.push((name.into(), Some(value)));
        self
    }

    /// Leaves out a claim, such as `exp`.
    pub fn without_claim(mut self, name: impl Into<String>) -> Self {
        self.overrides.push((name.into(), None));
        self
    }

    /// Adds a claim `padding` of this many bytes. Real tokens have at most 2.3 KB.
    pub fn padded(self, bytes: usize) -> Self {
        self.claim("padding", "x".repeat(bytes))
    }

    /// Replaces the signature by random bytes of the same length.
    pub fn forged(mut self) -> Self {
        self.signature = Signature::Forged;
        self
    }

    /// Sets `alg` to `none` and leaves the signature empty.
    pub fn unsigned(mut self) -> Self {
        self.signature = Signature::None;
        self
    }

    /// Returns a signed token. Each has its own `jti`, so no two tokens of a process are equal, except
    /// [before 1.30](Self::before_1_30) within one second.
    pub fn mint(&self, now: Timestamp) -> String {
        let claims = self.overridden(now);
        match self.signature {
            Signature::Good => self.issuer.sign(&claims),
            Signature::Forged => self.issuer.forge(&claims),
            Signature::None => strip(&self.issuer.forge(&claims)),
        }
    }

    /// Returns the times from which and until which a token minted now is valid.
    pub(crate) fn life(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let issued_at = self.issued_at.unwrap_or(now);
        (issued_at, issued_at + self.lifetime)
    }

    fn overridden(&self, now: Timestamp) -> Value {
        let mut claims = serde_json::to_value(self.claims(now)).expect("claims must serialize");
        let members = claims.as_object_mut().expect("claims must be an object");
        for (name, value) in &self.overrides {
            match value {
                Some(value) => members.insert(name.clone(), value.clone()),
                None => members.remove(name),
            };
        }
        claims
    }

    fn claims(&self, now: Timestamp) -> Claims<'_> {
        let (issued_at, expires_at) = self.life(now);
        let named = |kind, name| Named::new(kind, &self.namespace, name);
        Claims {
            aud: &self.audience,
            exp: expires_at.as_unix_secs(),
            iat: issued_at.as_unix_secs(),
            iss: self.issuer.url(),
            jti: self.jti.then(next_jti),
            kubernetes: Kubernetes {
                namespace: &self.namespace,
                // A node has no namespace, so its uid must not depend on one.
                node: self
                    .node
                    .as_deref()
                    .map(|name| Named::new("node", "", name)),
                pod: named("pod", &self.pod),
                serviceaccount: named("serviceaccount", &self.service_account),
            },
            nbf: issued_at.as_unix_secs(),
            sub: format!(
                "system:serviceaccount:{}:{}",
                self.namespace, self.service_account
            ),
        }
    }
}

/// The claims in the order of the API server, which is alphabetical, as in a map of `serde_json`.
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a [String],
    exp: i64,
    iat: i64,
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes<'a>,
    nbf: i64,
    sub: String,
}

#[derive(Serialize)]
struct Kubernetes<'a> {
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Named<'a>>,
    pod: Named<'a>,
    serviceaccount: Named<'a>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    uid: String,
}

impl<'a> Named<'a> {
    fn new(kind: &str, namespace: &str, name: &'a str) -> Self {
        Self {
            name,
            uid: uuid_of(&format!("{kind}/{namespace}/{name}")),
        }
    }
}

fn next_jti() -> String {
    // For the whole process: equal builders of different issuers must not mint equal tokens. Relaxed, because
    // only the number must be unique; it orders nothing.
    static MINTED: AtomicU64 = AtomicU64::new(0);
    uuid_of(&format!("jti/{}", MINTED.fetch_add(1, Ordering::Relaxed)))
}

/// Replaces the header by `{"alg":"none"}` and removes the signature.
fn strip(token: &str) -> String {
    let claims = token
        .split('.')
        .nth(1)
        .expect("a JWT must have three parts");
    format!("eyJhbGciOiJub25lIn0.{claims}.")
}
