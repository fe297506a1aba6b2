use std::collections::{BTreeMap, BTreeSet};

use pod_identity_core::Endpoint;
use pod_identity_core::wire::agent;

use super::identity::{self, Identity};
use crate::IdentitiesError;

/// What the webhook knows: its flags, its configuration file, and the annotations of service accounts.
///
/// The defaults are those of the webhook in an EKS cluster with IPv4. It names no service account
/// until [`identity`](Self::identity) or [`identities`](Self::identities) does.
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
    /// By service account, then by the whole key.
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
    /// Without a service account yet, without a region to inject.
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

    /// Names a service account whose pods are mutated. Both names match exactly; there are no wildcards.
    pub fn identity(
        mut self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        let identity = Identity::new(namespace, service_account);
        self.identities.insert(identity);
        self
    }

    /// Names the service accounts of a configuration file,
    /// `{"identities":[{"namespace","serviceAccount"}]}`, and none but those. Unknown members are
    /// ignored, and an empty file names nobody.
    ///
    /// # Errors
    /// [`IdentitiesError`] when it is anything else.
    pub fn identities(mut self, file: &str) -> Result<Self, IdentitiesError> {
        self.identities = identity::parse(file.as_bytes())?;
        Ok(self)
    }

    /// Annotates a service account. The webhook looks for `{prefix}/token-expiration`, in seconds, and
    /// `{prefix}/sts-regional-endpoints`, a boolean; one that cannot be read counts as absent.
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

    /// What the keys of annotations begin with, before the slash; `eks.amazonaws.com` by default. The
    /// key of the label stays the same.
    pub fn annotation_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Injects `AWS_REGION` and `AWS_DEFAULT_REGION`; none by default.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Injects `AWS_STS_REGIONAL_ENDPOINTS=regional` where the service account does not say otherwise;
    /// off by default.
    pub fn sts_regional_endpoints(mut self, inject: bool) -> Self {
        self.regional_sts = inject;
        self
    }

    /// How many seconds a token lives where neither pod nor service account says; at least 600, and
    /// 86 400 by default, of which every pod gets a random part: see [`seed`](Self::seed).
    pub fn token_expiration(mut self, seconds: u64) -> Self {
        self.token_expiration = seconds.max(MIN_EXPIRATION);
        self
    }

    /// Makes the random numbers the same for every pod of this configuration: a lifetime of exactly
    /// 86 400 s becomes one of 79 200 to 86 400 s, so that the tokens of a cluster are not renewed all
    /// at once. By default each pod gets another one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Who the token is for; `pods.eks.amazonaws.com` by default.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// Where the volume is mounted; `/var/run/secrets/pods.eks.amazonaws.com/serviceaccount` by
    /// default.
    pub fn mount_path(mut self, path: impl Into<String>) -> Self {
        self.mount_path = path.into();
        self
    }

    /// The name of the volume; `eks-pod-identity-token` by default.
    pub fn volume_name(mut self, name: impl Into<String>) -> Self {
        self.volume_name = name.into();
        self
    }

    /// The name of the token's file in the volume; `eks-pod-identity-token` by default.
    pub fn token_path(mut self, path: impl Into<String>) -> Self {
        self.token_path = path.into();
        self
    }

    /// Where credentials are; `http://169.254.170.23/v1/credentials` by default. With
    /// [`MockAgent::uri`](crate::MockAgent::uri) pods ask the mock.
    pub fn full_uri(mut self, uri: impl Into<String>) -> Self {
        self.full_uri = uri.into();
        self
    }

    /// As [`full_uri`](Self::full_uri), with `http://[fd00:ec2::23]/v1/credentials`: that of a cluster
    /// with IPv6.
    pub fn ipv6(self) -> Self {
        self.full_uri(format!("http://[{}]{}", Endpoint::EKS_IPV6, agent::PATH))
    }

    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        self.identities.contains(identity)
    }

    /// An annotation of a service account, by its key without the prefix.
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

/// In seconds. It means "within the two hours before": nobody gets exactly this.
pub(crate) const DEFAULT_EXPIRATION: u64 = 86_400;
/// In seconds: the least that Kubernetes allows for a projected token.
pub(crate) const MIN_EXPIRATION: u64 = 600;
