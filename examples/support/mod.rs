//! What the examples stand on instead of a cluster and an AWS account.
#![allow(dead_code, reason = "every example uses another part of it")]

pub(crate) mod soak;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use pod_identity_provider::{Builder, PodIdentityProvider};
use pod_identity_testkit::MockAgent;

/// The pod that the example runs in: this one, where the container variables are set, else one that is
/// made up, with an agent of its own.
pub(crate) struct Pod(Option<MockAgent>);

impl Pod {
    pub(crate) async fn start() -> Self {
        match PodIdentityProvider::builder().build() {
            Err(error) if error.is_not_configured() => Self(Some(MockAgent::start().await)),
            _ => Self(None),
        }
    }

    /// What `PodIdentityProvider::from_env()` is in a pod.
    pub(crate) fn provider(&self) -> PodIdentityProvider {
        let provider = self.builder().build();
        provider.unwrap_or_else(PodIdentityProvider::from)
    }

    /// What `PodIdentityProvider::builder()` is in a pod.
    pub(crate) fn builder(&self) -> Builder {
        let builder = PodIdentityProvider::builder();
        match &self.0 {
            Some(agent) => builder.environment(agent.lookup()),
            None => builder,
        }
    }
}

/// An STS for the SDK that needs no network: it reports which key signed a request, and returns
/// credentials for web identity and for a role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfflineSts;

impl OfflineSts {
    pub(crate) fn client() -> SharedHttpClient {
        http_client_fn(|_settings, _components| SharedHttpConnector::new(Self))
    }
}

impl HttpConnector for OfflineSts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let is_assume_role = body.windows(18).any(|part| part == b"Action=AssumeRole&");
        let answer = match request.headers().get("authorization") {
            Some(_) if is_assume_role => ASSUME_ROLE.to_owned(),
            Some(signature) => caller_identity(signature),
            None => WEB_IDENTITY.to_owned(),
        };
        let ok = 200.try_into().expect("200 must be a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(ok, SdkBody::from(answer))))
    }
}

fn caller_identity(signature: &str) -> String {
    let key = signature.split(['=', '/']).nth(1).unwrap_or_default();
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult>\
         <Arn>arn:aws:sts::111122223333:assumed-role/app/signed-with-{key}</Arn>\
         <UserId>AROAEXAMPLE</UserId><Account>111122223333</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

const WEB_IDENTITY: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
    <AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/irsa/app</Arn>\
    <AssumedRoleId>AROAEXAMPLE:app</AssumedRoleId></AssumedRoleUser>\
    <Credentials><AccessKeyId>ASIAFROMWEBIDENTITY</AccessKeyId><SecretAccessKey>no</SecretAccessKey>\
    <SessionToken>no</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
    </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

const ASSUME_ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult>\
    <AssumedRoleUser><Arn>arn:aws:sts::444455556666:assumed-role/reports/reports</Arn>\
    <AssumedRoleId>AROAEXAMPLE:reports</AssumedRoleId></AssumedRoleUser>\
    <Credentials><AccessKeyId>ASIAFROMASSUMEROLE</AccessKeyId><SecretAccessKey>no</SecretAccessKey>\
    <SessionToken>no</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
    </AssumeRoleResult></AssumeRoleResponse>";
