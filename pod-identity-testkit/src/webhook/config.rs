use std::collections::{BTreeMap, BTreeSet};

use pod_identity_core::Endpoint;
use pod_identity_core::wire::agent;

use super::identity::{self, Identity};
use crate::IdentitiesError;

/// The configuration of the webhook: its flags, its configuration file, and the annotations of service accounts.
///
/// Defaults to the flags of the webhook in an EKS cluster with IPv4, and to no service account: add them with
/// [`identity`](Self::identity) or [`identities`](Self::identities).
///
/// ```
/// use pod_identity_testkit::WebhookConfig;
///
/// let config = WebhookConfig::new()
///     .identity("shop", "cart")
///     .annotate("shop", "cart", "eks.amazonaws.com/sts-regional-endpoints", "true")
///     .region("eu-west-1");
/// # drop(config);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a configuration is for `mutate_pod` or a mock webhook"]
pub struct WebhookConfig {
    identities: BTreeSet<Identity>,
    /// By service account, then by the key with its prefix.
    annotations: BTreeMap<Identity, BTreeMap<String, String>>,
    seed: Option<u64>,
    pub(crate) prefix: String,
    pub(crate) region: Option<String>,
    pub(crate) regional_sts: bool,
    pub(crate) token_expiration: u64,
    pub(crate) audience: String,
    pub(crate) mount_path: String,
    pub(crate) volume_name: String,
    pub(crate) token_path: String,
    pub(crate) full_uri: String,
}

impl WebhookConfig {
    /// Returns the defaults: no service account, and no region to inject.
    pub fn new() -> Self {
        Self {
            identities: BTreeSet::new(),
            annotations: BTreeMap::new(),
            seed: None,
            prefix: "eks.amazonaws.com".to_owned(),
            region: None,
            regional_sts: false,
            token_expiration: DEFAULT_EXPIRATION,
            audience: "pods.eks.amazonaws.com".to_owned(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".to_owned(),
            volume_name: "eks-pod-identity-token".to_owned(),
            token_path: "eks-pod-identity-token".to_owned(),
            full_uri: format!("http://{}{}", Endpoint::EKS_IPV4, agent::PATH),
        }
    }

    /// Adds a service account whose pods are mutated. Both names are matched exactly, without wildcards.
    pub fn identity(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        let identity = Identity::new(namespace, service_account);
        self.identities.insert(identity);
        self
    }

    /// Replaces the service accounts by those of a configuration file,
    /// `{"identities":[{"namespace","serviceAccount"}]}`. Unknown members are ignored. An empty file has no
    /// service account.
    ///
    /// # Errors
    /// [`IdentitiesError`] if the text has another form.
    pub fn identities(mut self, file: &str) -> Result<Self, IdentitiesError> {
        self.identities = identity::parse(file.as_bytes())?;
        Ok(self)
    }

    /// Sets an annotation of a service account. The webhook reads `{prefix}/token-expiration`, in seconds, and
    /// `{prefix}/sts-regional-endpoints`, a boolean. It ignores a value that it cannot parse.
    pub fn annotate(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let identity = Identity::new(namespace, service_account);
        let annotations = self.annotations.entry(identity).or_default();
        annotations.insert(name.into(), value.into());
        self
    }

    /// Sets the prefix of the annotations' keys, without the slash. Defaults to `eks.amazonaws.com`. It does not
    /// change the key of the label.
    pub fn annotation_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Injects `AWS_REGION` and `AWS_DEFAULT_REGION`. By default neither is injected.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Injects `AWS_STS_REGIONAL_ENDPOINTS=regional`, unless the annotation of the service account overrides it.
    /// Defaults to `false`.
    pub fn sts_regional_endpoints(mut self, inject: bool) -> Self {
        self.regional_sts = inject;
        self
    }

    /// Sets the lifetime of tokens in seconds, at least 600, for pods without an annotation of their own or of
    /// their service account. Defaults to 86,400, which is then randomized: see [`seed`](Self::seed).
    pub fn token_expiration(mut self, seconds: u64) -> Self {
        self.token_expiration = seconds.max(MIN_EXPIRATION);
        self
    }

    /// Seeds the random lifetimes: the webhook turns a lifetime of exactly 86,400 s into one of 79,200 to
    /// 86,400 s, so that the tokens of a cluster are not renewed all at once. With a seed, every pod gets the
    /// same lifetime; by default each pod gets another one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the audience of the token. Defaults to `pods.eks.amazonaws.com`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// Sets the mount path of the volume. Defaults to
    /// `/var/run/secrets/pods.eks.amazonaws.com/serviceaccount`.
    pub fn mount_path(mut self, path: impl Into<String>) -> Self {
        self.mount_path = path.into();
        self
    }

    /// Sets the name of the volume. Defaults to `eks-pod-identity-token`.
    pub fn volume_name(mut self, name: impl Into<String>) -> Self {
        self.volume_name = name.into();
        self
    }

    /// Sets the name of the token's file in the volume. Defaults to `eks-pod-identity-token`.
    pub fn token_path(mut self, path: impl Into<String>) -> Self {
        self.token_path = path.into();
        self
    }

    /// Sets the URI of the node agent. Defaults to `http://169.254.170.23/v1/credentials`. With
    /// [`MockAgent::uri`](crate::MockAgent::uri), pods get their credentials from the mock.
    pub fn full_uri(mut self, uri: impl Into<String>) -> Self {
        self.full_uri = uri.into();
        self
    }

    /// Sets the URI of a cluster with IPv6: `http://[fd00:ec2::23]/v1/credentials`.
    pub fn ipv6(self) -> Self {
        self.full_uri(format!("http://[{}]{}", Endpoint::EKS_IPV6, agent::PATH))
    }

    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        self.identities.contains(identity)
    }

    /// Returns an annotation of a service account, by its key without the prefix.
    pub(crate) fn annotation(&self, identity: &Identity, name: &str) -> Option<&str> {
        let annotations = self.annotations.get(identity)?;
        let value = annotations.get(&self.annotation_key(name))?;
        Some(value)
    }

    pub(crate) fn annotation_key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    pub(crate) fn rng(&self) -> fastrand::Rng {
        self.seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)
    }

    #[cfg(feature = "webhook")]
    pub(crate) fn known(&self) -> &BTreeSet<Identity> {
        &self.identities
    }

    #[cfg(feature = "webhook")]
    pub(crate) fn knowing(&self, identities: BTreeSet<Identity>) -> Self {
        Self {
            identities,
            ..self.clone()
        }
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// In seconds. It is never used as it is: the webhook draws a lifetime from the two hours before it.
pub(crate) const DEFAULT_EXPIRATION: u64 = 86_400;
/// In seconds: the minimum of Kubernetes for a projected token.
pub(crate) const MIN_EXPIRATION: u64 = 600;
