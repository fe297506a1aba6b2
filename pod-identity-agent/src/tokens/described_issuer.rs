use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::eks_auth::sdk::SdkEksAuth;
use crate::tokens::issuer::IssuerKeys;
use crate::tokens::issuer_url::IssuerUrl;
use crate::tokens::key_source::{Fetching, KeySource, KeysUnavailable};

/// The public issuer of the cluster, whose URL EKS is asked for: `DescribeCluster` with the agent's own
/// credentials.
#[derive(Debug)]
pub(crate) struct DescribedIssuer {
    eks_auth: Arc<SdkEksAuth>,
    /// A cluster keeps its issuer for as long as it lives.
    issuer: OnceCell<IssuerKeys>,
}

impl DescribedIssuer {
    pub(crate) fn new(eks_auth: Arc<SdkEksAuth>) -> Self {
        Self {
            eks_auth,
            issuer: OnceCell::new(),
        }
    }

    async fn keys(&self) -> Result<Vec<u8>, KeysUnavailable> {
        let issuer = self.issuer.get_or_try_init(|| self.describe()).await?;
        issuer.keys().await
    }

    async fn describe(&self) -> Result<IssuerKeys, KeysUnavailable> {
        let failed = |reason| {
            KeysUnavailable(format!(
                "eks:DescribeCluster: {reason}; or set --oidc-issuer"
            ))
        };
        let issuer = self.eks_auth.issuer_of_cluster().await.map_err(failed)?;
        let issuer: IssuerUrl = issuer
            .parse()
            .map_err(|_quotes_input| failed("its issuer is not an https URL".to_owned()))?;
        let ca_bundle = self.eks_auth.ca_bundle().map(ToOwned::to_owned);
        Ok(IssuerKeys::new(issuer, ca_bundle))
    }
}

impl KeySource for DescribedIssuer {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(self.keys())
    }

    fn name(&self) -> &'static str {
        "issuer"
    }

    fn origin(&self) -> String {
        "eks:DescribeCluster".to_owned()
    }
}
