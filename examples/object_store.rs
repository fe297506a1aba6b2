//! `object_store` on S3. Run: `cargo run -p pod-identity-examples --example object_store`
//!
//! Needs the feature `object_store_0_14` of pod-identity-provider.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, ObjectStoreExt};
use support::Pod;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    provider.warm_up().await?;

    let store = AmazonS3Builder::new()
        .with_bucket_name("reports")
        .with_region("us-west-2")
        .with_credentials(Arc::new(provider.clone()))
        .with_http_connector(OfflineS3) // leave this out, and enable object_store's feature `aws`
        .build()?;
    let object = store.get(&"today.txt".into()).await?;
    let signed_with = String::from_utf8(object.bytes().await?.to_vec())?;
    println!("S3 saw a request signed with {signed_with}");

    let held = provider.snapshot().ok_or("a valid set must be held")?;
    assert_eq!(signed_with, held.access_key_id());
    Ok(())
}

/// The content of every object is the key that signed the request.
#[derive(Debug, Clone, Copy)]
struct OfflineS3;

impl HttpConnector for OfflineS3 {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(*self))
    }
}

#[async_trait]
impl HttpService for OfflineS3 {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let signature = request.headers().get("authorization");
        let signature = signature.and_then(|value| value.to_str().ok());
        // AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260301/us-west-2/s3/aws4_request, …
        let key = signature.and_then(|text| text.split(['=', '/']).nth(1));
        let key = key.unwrap_or_default().to_owned();
        http::Response::builder()
            .header("content-length", key.len())
            .header("last-modified", "Sun, 01 Mar 2026 12:00:00 GMT")
            .header("etag", "\"1\"")
            .body(key.into())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))
    }
}
