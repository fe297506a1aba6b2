use std::path::PathBuf;
use std::sync::Arc;

use crate::eks_auth::sdk::SdkEksAuth;
use crate::kubernetes::api_server::ApiServer;
use crate::tokens::api_server_keys::ApiServerKeys;
use crate::tokens::described_issuer::DescribedIssuer;
use crate::tokens::issuer::IssuerKeys;
use crate::tokens::issuer_url::IssuerUrl;
use crate::tokens::key_file::KeyFile;
use crate::tokens::key_ring::KeyRing;
use crate::tokens::key_source::KeySource;

/// Where the public keys of the cluster come from, with which the agent verifies service-account tokens
/// itself.
///
/// With keys, all tokens of a pod share its credentials, so that a new token of a pod is answered without an
/// exchange with EKS Auth, and a token with a wrong signature is refused without one. Without keys, each token
/// is exchanged.
///
/// ```
/// use pod_identity_agent::TokenKeys;
///
/// let issuer = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE".parse()?;
/// let keys = TokenKeys::none().from_issuer(issuer, None);
/// # Ok::<(), pod_identity_agent::IssuerUrlError>(())
/// ```
#[derive(Debug)]
pub struct TokenKeys {
    sources: Vec<Box<dyn KeySource>>,
    file: Option<KeyFile>,
}

impl TokenKeys {
    /// No keys: no token is verified.
    pub fn none() -> Self {
        Self {
            sources: Vec::new(),
            file: None,
        }
    }

    /// Adds the API server of the cluster, from Kubernetes 1.34 on, which is asked before the sources that are
    /// added later.
    pub fn from_api_server(mut self, api_server: ApiServer) -> Self {
        let keys = ApiServerKeys::new(api_server);
        self.sources.push(Box::new(keys));
        self
    }

    /// Adds the cluster's public issuer, which is asked where the sources before it have no keys. `ca_bundle`
    /// names a PEM file with the only roots to trust, as `AWS_CA_BUNDLE` does for the AWS CLI.
    pub fn from_issuer(mut self, issuer: IssuerUrl, ca_bundle: Option<PathBuf>) -> Self {
        let issuer = IssuerKeys::new(issuer, ca_bundle);
        self.sources.push(Box::new(issuer));
        self
    }

    /// Adds the cluster's public issuer, whose URL the agent asks EKS for: `DescribeCluster` with the region, the
    /// credentials and the cluster's name of `eks_auth`. It takes the permission `eks:DescribeCluster`, which
    /// AWS's policy for nodes has.
    pub fn from_described_issuer(mut self, eks_auth: Arc<SdkEksAuth>) -> Self {
        let issuer = DescribedIssuer::new(eks_auth);
        self.sources.push(Box::new(issuer));
        self
    }

    /// Sets a file in which the keys are kept for the next start. They are only read back for a cluster of
    /// the same name. Defaults to none.
    pub fn kept_in(mut self, path: impl Into<PathBuf>, cluster: impl Into<String>) -> Self {
        self.file = Some(KeyFile::new(path.into(), cluster.into()));
        self
    }

    /// The sources alone, to be asked once.
    pub(crate) fn without_file(self) -> KeyRing {
        KeyRing::new(self.sources, None)
    }

    /// Reads the file. Without a source its keys could never be renewed, and are not used.
    pub(crate) fn into_ring(self) -> KeyRing {
        let file = self.file.filter(|_file| !self.sources.is_empty());
        KeyRing::new(self.sources, file)
    }
}
