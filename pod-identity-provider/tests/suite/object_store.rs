//! What `object_store` sends to S3.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, ObjectStoreExt};
use pod_identity_provider::{Clock, PodIdentityProvider, SystemClock};
use pod_identity_testkit::{Fault, MockAgent, SettableClock};

/// Is where S3 would be: it keeps the headers of the last request, and has an empty object everywhere.
#[derive(Debug, Clone, Default)]
struct Wire(Arc<Mutex<HeaderMap>>);

impl Wire {
    fn header(&self, name: &str) -> String {
        let headers = self.0.lock().unwrap();
        headers.get(name).unwrap().to_str().unwrap().to_owned()
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        *self.0.lock().unwrap() = request.headers().clone();
        let answer = http::Response::builder()
            .header("content-length", 0)
            .header("last-modified", "Sun, 01 Mar 2026 12:00:00 GMT")
            .header("etag", "\"empty\"");
        Ok(answer.body(Vec::new().into()).unwrap())
    }
}

fn store(provider: &PodIdentityProvider, wire: &Wire) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_region("us-west-2")
        .with_credentials(Arc::new(provider.clone()))
        .with_http_connector(wire.clone())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_request_is_signed_with_the_held_set() {
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let agent = MockAgent::builder()
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let provider = PodIdentityProvider::builder()
        .environment(agent.lookup())
        .clock(clock.clone())
        .build()
        .unwrap();
    let wire = Wire::default();
    let store = store(&provider, &wire);

    store.head(&"object".into()).await.unwrap();
    let held = provider.snapshot().unwrap();
    let signed_by = format!("AWS4-HMAC-SHA256 Credential={}/", held.access_key_id());
    assert!(wire.header("authorization").starts_with(&signed_by));
    let token = held.session_token().expose();
    assert_eq!(wire.header("x-amz-security-token"), token);

    clock.advance(Duration::from_secs(3600));
    let newer = provider.refresh_now().await.unwrap();
    store.head(&"object".into()).await.unwrap();
    assert_ne!(newer.access_key_id(), held.access_key_id());
    assert!(wire.header("authorization").contains(newer.access_key_id()));
}

#[tokio::test]
async fn the_error_contains_the_agents_message_and_no_secret() {
    let agent = MockAgent::start().await;
    agent.inject_always(Fault::text(404, "no association"));
    let provider = PodIdentityProvider::from_lookup(agent.lookup());
    let error = store(&provider, &Wire::default())
        .head(&"object".into())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Generic S3 error: {} refused: HTTP 404: no association",
            agent.address()
        )
    );
    agent.assert_no_secrets(&format!("{error:?} {provider:?}"));
}
