use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pod_identity_core::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::Issuer;
use crate::token::ids::uuid_of;

/// A projected service-account token before it is signed.
///
/// It starts as kubelet would ask for it: audience `pods.eks.amazonaws.com`, 24 hours, issued when
/// minted, for the pod `{service account}-0`. Minting does not use it up, so one builder makes every
/// token of a pod's life.
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
    /// A token for a pod of a service account, to be adjusted and minted.
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

    /// `aud`: this one audience instead of [`AUDIENCE`](Self::AUDIENCE).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = vec![audience.into()];
        self
    }

    /// The time from `iat` to `exp`, in whole seconds; 24 hours by default.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// `iat` and `nbf`, in whole seconds; the time of minting by default.
    pub fn issued_at(mut self, issued_at: Timestamp) -> Self {
        self.issued_at = Some(issued_at);
        self
    }

    /// The pod's name; `{service account}-0` by default. The uid follows from namespace and name.
    pub fn pod(mut self, name: impl Into<String>) -> Self {
        self.pod = name.into();
        self
    }

    /// The node's name.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// As Kubernetes did before 1.30: without `node` and `jti`.
    pub fn before_1_30(mut self) -> Self {
        self.node = None;
        self.jti = false;
        self
    }

    /// Any claim with any value, in place of its own: `claim("exp", "tomorrow")`.
    ///
    /// # Panics
    /// When the value cannot be JSON.
    pub fn claim(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a claim must be JSON");
        self.overrides.push((name.into(), Some(value)));
        self
    }

    /// Without a claim, such as `exp`.
    pub fn without_claim(mut self, name: impl Into<String>) -> Self {
        self.overrides.push((name.into(), None));
        self
    }

    /// With a claim `padding` of so many bytes: real tokens have 2.3 KB at most.
    pub fn padded(self, bytes: usize) -> Self {
        self.claim("padding", "x".repeat(bytes))
    }

    /// With a signature of the right length that no key made.
    pub fn forged(mut self) -> Self {
        self.signature = Signature::Forged;
        self
    }

    /// With `alg` `none` and an empty signature.
    pub fn unsigned(mut self) -> Self {
        self.signature = Signature::None;
        self
    }

    /// Signs a token. Each has a `jti` of its own, so no two tokens of one process are equal, except
    /// [before 1.30](Self::before_1_30) within one second.
    pub fn mint(&self, now: Timestamp) -> String {
        let claims = self.overridden(now);
        match self.signature {
            Signature::Good => self.issuer.sign(&claims),
            Signature::Forged => self.issuer.forge(&claims),
            Signature::None => strip(&self.issuer.forge(&claims)),
        }
    }

    /// From when to when a token that is minted now is good.
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

/// The claims in the order in which the API server writes them: by their names, as a map of
/// `serde_json` has them too.
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
    // For the whole process, so that equal builders of different issuers do not mint equal tokens.
    static MINTED: AtomicU64 = AtomicU64::new(0);
    uuid_of(&format!("jti/{}", MINTED.fetch_add(1, Ordering::Relaxed)))
}

/// `{"alg":"none"}` before the claims, and nothing after them.
fn strip(token: &str) -> String {
    let claims = token
        .split('.')
        .nth(1)
        .expect("a JWT must have three parts");
    format!("eyJhbGciOiJub25lIn0.{claims}.")
}
