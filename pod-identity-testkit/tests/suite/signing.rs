//! Requests signed by the SDK's own signer.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use pod_identity_core::Timestamp;
use pod_identity_core::wire::eks_auth::AssumeRoleResponse;
use pod_identity_testkit::MockEksAuth;

use crate::common::{Answered, Client, NOW};

/// How a request is signed.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) credentials: Credentials,
    pub(crate) service: &'static str,
    pub(crate) region: &'static str,
    pub(crate) at: Timestamp,
    pub(crate) settings: SigningSettings,
}

impl Signer {
    pub(crate) fn new(service: &'static str, key: &str, secret: &str) -> Self {
        Self::with(service, Credentials::new(key, secret, None, None, "test"))
    }

    /// Signs with the credentials of a pod.
    pub(crate) fn of(service: &'static str, granted: &AssumeRoleResponse) -> Self {
        let minted = &granted.credentials;
        let credentials = Credentials::new(
            &minted.access_key_id,
            minted.secret_access_key.expose(),
            Some(minted.session_token.expose().to_owned()),
            None,
            "test",
        );
        Self::with(service, credentials)
    }

    fn with(service: &'static str, credentials: Credentials) -> Self {
        Self {
            credentials,
            service,
            region: "us-west-2",
            at: NOW,
            settings: SigningSettings::default(),
        }
    }

    /// Signs in the query instead of in a header.
    pub(crate) fn presigned(mut self) -> Self {
        self.settings.signature_location = SignatureLocation::QueryParams;
        self.settings.expires_in = Some(std::time::Duration::from_secs(60));
        self
    }

    pub(crate) fn sign(&self, method: Method, path: &str, body: &str) -> Request<Full<Bytes>> {
        let uri = format!("http://mock.test{path}");
        let mut request = Request::builder()
            .method(method.clone())
            .uri(&uri)
            .header("host", "mock.test")
            .header("x-odd", "  two   spaces ")
            .body(Full::from(body.to_owned()))
            .unwrap();
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(self.at))
            .settings(self.settings.clone())
            .build()
            .unwrap()
            .into();
        let headers = [("host", "mock.test"), ("x-odd", "  two   spaces ")];
        let body = SignableBody::Bytes(body.as_bytes());
        let signable =
            SignableRequest::new(method.as_str(), &uri, headers.into_iter(), body).unwrap();
        let (instructions, _signature) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let target = request.uri().path_and_query().unwrap().to_string();
        *request.uri_mut() = target.parse().unwrap();
        request
    }
}

/// Sends one request over its own connection.
pub(crate) async fn send(eks: &MockEksAuth, request: Request<Full<Bytes>>) -> Answered {
    Client::connect(eks)
        .await
        .unwrap()
        .send(request)
        .await
        .unwrap()
}
