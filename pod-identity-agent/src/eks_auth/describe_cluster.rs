use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::service_config::ServiceConfigKey;
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

/// Returns the URL of EKS, without a slash at its end: that of the service's own settings, of all services, or
/// of the region. `None` if the region belongs to no partition.
pub(crate) async fn endpoint_of_eks(
    config: &SdkConfig,
    of_all_services: Option<&str>,
) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("EKS")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let settings = config.service_config();
    let of_service = settings.and_then(|settings| settings.load_config(key));
    if let Some(url) = of_service.as_deref().or(of_all_services) {
        return Some(url.trim_end_matches('/').to_owned());
    }
    // The rules of STS know the suffix of each partition, and are in the program already.
    let params = Params::builder()
        .region(config.region()?.to_string())
        .use_global_endpoint(false)
        .build()
        .ok()?;
    let resolved = DefaultResolver::new()
        .resolve_endpoint(&params)
        .await
        .ok()?;
    let region = resolved.url().strip_prefix("https://sts.")?;
    let is_fips = config.use_fips() == Some(true) && !region.starts_with("us-gov-");
    let host = if is_fips { "fips.eks" } else { "eks" };
    Some(format!("https://{host}.{region}"))
}

const MAX_REASON: usize = 300;

#[cfg(test)]
mod tests {
    use aws_config::Region;

    use super::*;

    #[tokio::test]
    async fn the_endpoint_is_that_of_the_region_in_its_partition() {
        for (region, is_fips, url) in [
            ("us-west-2", false, "https://eks.us-west-2.amazonaws.com"),
            (
                "us-east-1",
                true,
                "https://fips.eks.us-east-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                "https://eks.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                "https://eks.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            let region = Region::new(region);
            let config = SdkConfig::builder()
                .region(region)
                .use_fips(is_fips)
                .build();
            assert_eq!(endpoint_of_eks(&config, None).await.as_deref(), Some(url));
        }
        let config = SdkConfig::builder().build();
        assert_eq!(endpoint_of_eks(&config, None).await, None);
    }
}
