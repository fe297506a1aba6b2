use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use http::Request;
use http::header::ACCEPT;
use pod_identity_core::{Clock, SystemClock, with_causes, without_long_words};
use serde_json::Value;

use crate::eks_auth::sdk::SdkEksAuth;
use crate::eks_auth::unavailable::Unavailable;
use crate::telemetry::printable::{LONGEST_WORD, excerpt};

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
        let request = self.signed_request().await?;
        let connector = self.connector().await;
        let connector = connector.map_err(|error| error.in_full())?;
        let response = connector.call(request).await;
        issuer_in(&response.map_err(|error| with_causes(&error))?)
    }

    async fn signed_request(&self) -> Result<HttpRequest, String> {
        let route = self.route().await.map_err(|error| error.in_full())?;
        let route = route.ok_or("the client of EKS Auth is not the agent's own")?;
        let endpoint = route.eks().ok_or("the endpoint of EKS is not known")?;
        let credentials = route.credentials().provide_credentials().await;
        // The cause, which may be the output of a program, is logged where the credentials are loaded.
        let no_credentials = |error| Unavailable::no_credentials(error).to_string();
        let credentials = credentials.map_err(no_credentials)?;
        let url = format!("{endpoint}/clusters/{}", self.cluster());
        let mut request = Request::get(&url)
            .header(ACCEPT, "application/json")
            .body(SdkBody::empty())
            .map_err(|_invalid| "the endpoint of EKS is not a URL".to_owned())?;

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

        HttpRequest::try_from(request).map_err(|error| error.to_string())
    }
}

fn issuer_in(response: &HttpResponse) -> Result<String, String> {
    let body = response.body().bytes().unwrap_or_default();
    match response.status().as_u16() {
        200 => {
            let cluster: Option<Value> = serde_json::from_slice(body).ok();
            let issuer = cluster
                .as_ref()
                .and_then(|json| json.pointer("/cluster/identity/oidc/issuer")?.as_str());
            issuer
                .map(str::to_owned)
                .ok_or_else(|| "the answer names no issuer".to_owned())
        }
        status @ (401 | 403) => Err(format!(
            "HTTP {status}: allow eks:DescribeCluster to the role of this node"
        )),
        status => {
            // A proxy may repeat the request, which has the agent's own session token in a header.
            let said = without_long_words(&String::from_utf8_lossy(body), LONGEST_WORD);
            let said = excerpt(&said, MAX_REASON);
            Err(format!("HTTP {status}: {said}"))
        }
    }
}

const MAX_REASON: usize = 300;

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;
    use aws_smithy_types::date_time::Format;

    use super::*;
    use crate::eks_auth::sdk::tests::with_route;

    fn answer(status: u16, body: &'static str) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
    }

    #[tokio::test]
    async fn a_request_is_for_the_cluster_and_signed_by_the_clock_of_eks_auth() {
        let eks_auth = with_route(Some(()), "https://eks-auth.test");
        let far = SystemClock.now().as_unix_millis() / 1000 + 3 * 3600;
        let mut heard = answer(200, "");
        let date = DateTime::from_secs(far).fmt(Format::HttpDate).unwrap();
        heard.headers_mut().insert("date", date);
        heard.headers_mut().insert("x-amzn-requestid", "r-1");
        eks_auth.clock_skew().note(None, &mut heard);
        let request = eks_auth.signed_request().await.unwrap();
        let url = "https://eks.us-west-2.amazonaws.com/clusters/my-cluster";
        assert_eq!(request.uri(), url);
        let authorization = request.headers().get("authorization").unwrap();
        assert!(
            authorization.contains("/us-west-2/eks/aws4_request"),
            "{authorization}"
        );
        // As `20261128T055500Z`, whose order is that of the times.
        let signed_at = request.headers().get("x-amz-date").unwrap();
        let around = |seconds| {
            let time = DateTime::from_secs(seconds).fmt(Format::DateTime);
            time.unwrap().replace(['-', ':'], "")
        };
        let (earliest, latest) = (around(far - 600), around(far + 600));
        assert!(
            *earliest <= *signed_at && *signed_at <= *latest,
            "{signed_at}"
        );
    }

    #[tokio::test]
    async fn without_a_route_or_credentials_there_is_no_request() {
        let eks_auth = with_route(None, "https://eks-auth.test");
        let reason = eks_auth.signed_request().await.unwrap_err();
        let expected = "the agent has no credentials of its own: no source has any";
        assert!(reason.starts_with(expected), "{reason}");
        // That may be the output of a program.
        assert!(!reason.contains("there are none"), "{reason}");
    }

    #[test]
    fn an_answer_names_the_issuer_or_says_what_to_allow() {
        let issuer = "https://oidc.eks.us-west-2.amazonaws.com/id/1";
        let found = answer(
            200,
            r#"{"cluster":{"identity":{"oidc":{"issuer":"https://oidc.eks.us-west-2.amazonaws.com/id/1"}}}}"#,
        );
        assert_eq!(issuer_in(&found), Ok(issuer.to_owned()));
        for (status, body, reason) in [
            (200, "{}", "the answer names no issuer"),
            (200, "<html>", "the answer names no issuer"),
            (
                403,
                "",
                "HTTP 403: allow eks:DescribeCluster to the role of this node",
            ),
            (
                401,
                "",
                "HTTP 401: allow eks:DescribeCluster to the role of this node",
            ),
            (500, "down", "HTTP 500: down"),
            (
                407,
                "x-amz-security-token: IQoJb3JpZ2luX2VjEXAMPLEwEaCXVzLXdlc3QtMiJHMEU",
                "HTTP 407: x-amz-security-token: <left out>",
            ),
        ] {
            assert_eq!(issuer_in(&answer(status, body)), Err(reason.to_owned()));
        }
    }
}
