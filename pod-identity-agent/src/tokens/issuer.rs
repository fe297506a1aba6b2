use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http::Request;
use http::header::ACCEPT;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::eks_auth::http_clients::aws_connector;
use crate::telemetry::printable::excerpt;
use crate::tokens::issuer_url::{IssuerUrl, IssuerUrlError};
use crate::tokens::key_source::{Fetching, KeySource, KeysUnavailable};
use pod_identity_core::with_causes;

/// The public issuer of the cluster, as OpenID Connect Discovery 1.0 describes it: the issuer's configuration
/// names the URL of the keys.
///
/// Its URL is told to the agent, and never read from a token. It is asked as EKS Auth is: over TLS,
/// through the proxy of the environment, and with the roots of `AWS_CA_BUNDLE`.
pub(crate) struct IssuerKeys {
    issuer: IssuerUrl,
    ca_bundle: Option<PathBuf>,
    connector: OnceCell<SharedHttpConnector>,
}

impl IssuerKeys {
    pub(crate) fn new(issuer: IssuerUrl, ca_bundle: Option<PathBuf>) -> Self {
        Self {
            issuer,
            ca_bundle,
            connector: OnceCell::new(),
        }
    }

    pub(crate) async fn keys(&self) -> Result<Vec<u8>, KeysUnavailable> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer);
        let configuration = self.get(&url).await?;
        let configuration: Option<Value> = serde_json::from_slice(&configuration).ok();
        let keys = configuration
            .as_ref()
            .and_then(|json| json.get("jwks_uri")?.as_str());
        let keys = keys.ok_or_else(|| KeysUnavailable(format!("{url} names no `jwks_uri`")))?;
        let keys: IssuerUrl = keys.parse().map_err(|error: IssuerUrlError| {
            let error = excerpt(&error.to_string(), MAX_REASON);
            KeysUnavailable(format!("the `jwks_uri` of {url}: {error}"))
        })?;
        self.get(keys.as_str()).await
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, KeysUnavailable> {
        let failed = |reason: String| KeysUnavailable(format!("GET {url}: {reason}"));
        let connector = self.connector.get_or_try_init(|| async {
            aws_connector(self.ca_bundle.as_deref(), &Arc::default())
        });
        let connector = connector.await.map_err(|error| failed(error.in_full()))?;
        let request = Request::get(url).header(ACCEPT, "application/json");
        let request = request.body(SdkBody::empty()).ok();
        let request = request.and_then(|request| HttpRequest::try_from(request).ok());
        let request = request.ok_or_else(|| failed("it is not a URL".to_owned()))?;
        let response = connector.call(request).await;
        let response = response.map_err(|error| failed(with_causes(&error)))?;
        match response.status().as_u16() {
            200 => Ok(response.body().bytes().unwrap_or_default().to_vec()),
            status => Err(failed(format!("HTTP {status}"))),
        }
    }
}

impl KeySource for IssuerKeys {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(self.keys())
    }

    fn name(&self) -> &'static str {
        "issuer"
    }

    fn origin(&self) -> String {
        self.issuer.to_string()
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IssuerKeys").field(&self.issuer).finish()
    }
}

const MAX_REASON: usize = 300;

#[cfg(test)]
mod tests {
    use pod_identity_testkit::MockEksAuth;

    use super::*;
    use crate::tokens::key_set::KeySet;

    #[tokio::test]
    async fn the_keys_are_where_the_issuers_configuration_says() {
        let eks = MockEksAuth::start().await;
        let issuer = IssuerKeys::new(eks.endpoint().parse().unwrap(), None);
        let keys = KeySet::parse(&issuer.keys().await.unwrap()).unwrap();
        assert!(keys.has(pod_identity_testkit::Issuer::KEY_ID));
    }

    #[tokio::test]
    async fn what_does_not_answer_or_is_no_issuer_is_named() {
        let eks = MockEksAuth::start().await;
        let wrong = format!("{}/nothing/here", eks.endpoint());
        let error = IssuerKeys::new(wrong.parse().unwrap(), None)
            .keys()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("HTTP 40"), "{error}");
        let nobody = IssuerKeys::new("http://127.0.0.1:1/".parse().unwrap(), None);
        let error = nobody.keys().await.unwrap_err().to_string();
        assert!(
            error.starts_with("GET http://127.0.0.1:1/.well-known/"),
            "{error}"
        );
    }
}
