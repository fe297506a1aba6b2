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
    use std::convert::Infallible;
    use std::future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use http::Response;
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use pod_identity_testkit::{Issuer, MockEksAuth};
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::tokens::key_set::KeySet;

    /// An issuer over HTTP/2, whose first connection never answers.
    struct Frozen {
        url: IssuerUrl,
        root: tempfile::NamedTempFile,
        /// A request has come on the first connection.
        asked: Arc<Notify>,
        _serving: JoinSet<()>,
    }

    impl Frozen {
        async fn start() -> Self {
            let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let root = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(root.path(), certified.cert.pem()).unwrap();
            let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
            let mut config =
                ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_no_client_auth()
                    .with_single_cert(vec![certified.cert.der().clone()], key)
                    .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let url: IssuerUrl = format!("https://localhost:{port}").parse().unwrap();
            let asked = Arc::new(Notify::new());
            let mut serving = JoinSet::new();
            let (signal, base) = (Arc::clone(&asked), url.clone());
            serving.spawn(async move {
                let mut connections = JoinSet::new();
                let accepted = AtomicUsize::new(0);
                while let Ok((stream, _client)) = listener.accept().await {
                    let is_first = accepted.fetch_add(1, Ordering::Relaxed) == 0;
                    let (acceptor, signal, base) = (acceptor.clone(), signal.clone(), base.clone());
                    connections.spawn(async move {
                        let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                        let service = service_fn(move |request: Request<Incoming>| {
                            let signal = Arc::clone(&signal);
                            let body = match request.uri().path() {
                                "/keys" => Issuer::new().jwks(),
                                _ => json!({"jwks_uri": format!("{base}/keys")}).to_string(),
                            };
                            async move {
                                if is_first {
                                    signal.notify_one();
                                    future::pending::<()>().await;
                                }
                                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
                            }
                        });
                        let http2 = http2::Builder::new(TokioExecutor::new());
                        http2.serve_connection(stream, service).await.ok();
                    });
                }
            });
            Self {
                url,
                root,
                asked,
                _serving: serving,
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_has_frozen_is_not_asked_again() {
        let server = Frozen::start().await;
        let bundle = server.root.path().to_owned();
        let issuer = IssuerKeys::new(server.url.clone(), Some(bundle));
        tokio::select! {
            keys = issuer.keys() => panic!("{keys:?}"),
            () = server.asked.notified() => {}
        }
        let keys = tokio::time::timeout(Duration::from_secs(10), issuer.keys());
        let keys = keys
            .await
            .expect("another connection must be made")
            .unwrap();
        assert!(KeySet::parse(&keys).unwrap().has(Issuer::KEY_ID));
    }

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
