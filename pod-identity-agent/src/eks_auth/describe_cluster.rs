use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http::Request;
use http::header::ACCEPT;
use pod_identity_core::{Clock, SystemClock};
use serde_json::Value;

use crate::eks_auth::http_clients::aws_connector;
use crate::eks_auth::printable::{excerpt, with_causes};
use crate::eks_auth::sdk::SdkEksAuth;

/// `DescribeCluster` of EKS, for the one member that the agent needs.
///
/// It is a GET that is signed here, because the client of EKS, with all of its operations, would add megabytes
/// to the program.
impl SdkEksAuth {
    /// Asks EKS for the URL of the cluster's OpenID Connect issuer.
    ///
    /// # Errors
    /// Fails with a reason in words, for the log.
    pub(crate) async fn issuer_of_cluster(&self) -> Result<String, String> {
        let body = self.describe_cluster().await?;
        let cluster: Option<Value> = serde_json::from_slice(&body).ok();
        let issuer = cluster
            .as_ref()
            .and_then(|json| json.pointer("/cluster/identity/oidc/issuer")?.as_str());
        issuer
            .map(str::to_owned)
            .ok_or_else(|| "the answer names no issuer".to_owned())
    }

    async fn describe_cluster(&self) -> Result<Vec<u8>, String> {
        let route = self.route().await.map_err(|error| error.to_string())?;
        let route = route.ok_or("the client of EKS Auth is not the agent's own")?;
        let endpoint = route.eks().ok_or("the endpoint of EKS is not known")?;
        let credentials = route.credentials().provide_credentials().await;
        let credentials = credentials.map_err(|error| with_causes(&error))?;
        let url = format!("{endpoint}/clusters/{}", self.cluster());
        let mut request = Request::get(&url)
            .header(ACCEPT, "application/json")
            .body(SdkBody::empty())
            .map_err(|_invalid| format!("{url:?} is not a URL"))?;

        let identity = Identity::from(credentials);
        // EKS judges the time of a signature as EKS Auth does, which has told how far the node's clock is off.
        let skew = self.clock_skew().seconds();
        let millis = SystemClock.now().as_unix_millis() as f64 + skew * 1000.0;
        let time = UNIX_EPOCH + Duration::from_millis(millis as u64);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(route.region())
            .name("eks")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = [(ACCEPT.as_str(), "application/json")].into_iter();
        let signed = SignableRequest::new("GET", url.as_str(), headers, SignableBody::Bytes(&[]))
            .and_then(|request| sign(request, &params))
            .map_err(|error| with_causes(&error))?;
        let (instructions, _signature) = signed.into_parts();
        instructions.apply_to_request_http1x(&mut request);

        let request = HttpRequest::try_from(request).map_err(|error| error.to_string())?;
        let connector = aws_connector(self.ca_bundle(), self.clock_skew())
            .map_err(|error| with_causes(&error))?;
        let response = connector.call(request).await;
        let response = response.map_err(|error| with_causes(&error))?;
        let body = response.body().bytes().unwrap_or_default();
        match response.status().as_u16() {
            200 => Ok(body.to_vec()),
            status @ (401 | 403) => Err(format!(
                "HTTP {status}: allow eks:DescribeCluster to the role of this node"
            )),
            status => {
                let said = excerpt(&String::from_utf8_lossy(body), MAX_REASON);
                Err(format!("HTTP {status}: {said}"))
            }
        }
    }
}

const MAX_REASON: usize = 300;
