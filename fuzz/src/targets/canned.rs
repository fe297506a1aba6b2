use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

/// Returns an HTTP client for the AWS SDK that gives this answer to any request.
pub(super) fn client(
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
) -> SharedHttpClient {
    let canned = SharedHttpConnector::new(Canned {
        status,
        headers: headers.to_vec(),
        body: body.to_vec(),
    });
    http_client_fn(move |_settings, _components| canned.clone())
}

#[derive(Debug)]
struct Canned {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl HttpConnector for Canned {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let status = StatusCode::try_from(self.status).expect("the status must be valid");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body.clone()));
        for (name, value) in &self.headers {
            response.headers_mut().insert(*name, value.clone());
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}
