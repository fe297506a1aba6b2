use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pod_identity_core::{AuthorizationToken, TokenFile};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::kubernetes::api_server_error::{ApiServerError, ApiServerUrlError, Refused};
use crate::url::is_complete;

/// The API server of the cluster, called as a pod's service account.
///
/// Each request has a connection of its own, and reads the token and the cluster's certificate authority
/// anew, because kubelet replaces both. The agent makes a few requests an hour. They use no proxy and follow
/// no redirect. A client library of Kubernetes would add some fifty crates to the agent for the same.
///
/// ```
/// use pod_identity_agent::ApiServer;
///
/// let api_server = ApiServer::new("https://10.100.0.1:443", ApiServer::SERVICE_ACCOUNT)?;
/// # let _ = api_server;
/// assert!(ApiServer::new("http://10.100.0.1", ApiServer::SERVICE_ACCOUNT).is_err());
/// # Ok::<(), pod_identity_agent::ApiServerUrlError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ApiServer {
    is_tls: bool,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    service_account: PathBuf,
}

impl ApiServer {
    /// Where a pod has the files of its service account, `token` and `ca.crt`.
    pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

    /// Returns the API server at this URL. `service_account` is a directory with the files `token` and
    /// `ca.crt`, usually [`SERVICE_ACCOUNT`](Self::SERVICE_ACCOUNT). It is not read before the first request.
    ///
    /// # Errors
    /// [`ApiServerUrlError`] if it is not a URL, has a path, or is `http` to an address other than one of
    /// loopback.
    pub fn new(url: &str, service_account: impl Into<PathBuf>) -> Result<Self, ApiServerUrlError> {
        let uri: Uri = url.trim().parse().map_err(|_no_url| ApiServerUrlError)?;
        let host = uri.host().ok_or(ApiServerUrlError)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback => false,
            _ => return Err(ApiServerUrlError),
        };
        if !is_complete(&uri) || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(ApiServerUrlError);
        }
        let default_port = if is_tls { 443 } else { 80 };
        Ok(Self {
            is_tls,
            port: uri.port_u16().unwrap_or(default_port),
            host: host.to_owned(),
            service_account: service_account.into(),
        })
    }

    /// Sends a GET. `accept` is the media type that is wanted. The future may be dropped at any time, and
    /// has no limit of time.
    pub(crate) async fn get(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<ApiResponse, ApiServerError> {
        let request = Request::builder()
            .uri(path)
            .header(ACCEPT, HeaderValue::from_static(accept));
        self.send(request, Bytes::new()).await
    }

    /// Sends a PATCH with a body of this media type.
    pub(crate) async fn patch(
        &self,
        path: &str,
        content_type: &'static str,
        body: String,
    ) -> Result<ApiResponse, ApiServerError> {
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(path)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.send(request, Bytes::from(body)).await
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<ApiResponse, ApiServerError> {
        let Files { token, roots } = self.read_files().await?;
        let request = request
            .header(HOST, self.authority())
            .header(USER_AGENT, AGENT)
            .header(AUTHORIZATION, bearer(&token)?)
            .body(Full::new(body))
            .map_err(|error| ApiServerError::Malformed(error.to_string()))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = stream.await.map_err(ApiServerError::Connect)?;
        // Requests are sent whole, so this saves no packet; a failure costs at most 40 ms.
        stream.set_nodelay(true).ok();
        match roots {
            None => exchange(stream, request).await,
            Some(roots) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|error| ApiServerError::Connect(io::Error::other(error)))?;
                let stream = TlsConnector::from(tls_config(roots)?).connect(name, stream);
                let stream = stream.await.map_err(ApiServerError::Connect)?;
                exchange(stream, request).await
            }
        }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Reads the files on a thread that may block: they are in memory in a pod, but need not be elsewhere.
    async fn read_files(&self) -> Result<Files, ApiServerError> {
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.files());
        read.await
            .unwrap_or_else(|error| Err(ApiServerError::Malformed(error.to_string())))
    }

    fn files(&self) -> Result<Files, ApiServerError> {
        let token = TokenFile::new(self.service_account.join("token")).read()?;
        let roots = match self.is_tls {
            true => Some(self.certificate_authority()?),
            false => None,
        };
        Ok(Files { token, roots })
    }

    fn certificate_authority(&self) -> Result<RootCertStore, ApiServerError> {
        let path = self.service_account.join("ca.crt");
        let unusable = |message: String| ApiServerError::CertificateAuthority {
            path: path.clone(),
            message,
        };
        let pem = std::fs::read(&path).map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let mut errors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| format!("{error:?}"));
            let added =
                certificate.and_then(|root| roots.add(root).map_err(|error| error.to_string()));
            errors.extend(added.err());
        }
        // Clients in Go leave out what they cannot use, too: a cluster may have it without noticing.
        if !roots.is_empty() {
            return Ok(roots);
        }
        let reason = errors.into_iter().next();
        Err(unusable(reason.unwrap_or_else(|| {
            "it holds no PEM certificate".to_owned()
        })))
    }
}

/// What is read for a request.
struct Files {
    token: AuthorizationToken,
    /// `None` without TLS.
    roots: Option<RootCertStore>,
}

/// The answer of the API server, whose body has not been read. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    status: StatusCode,
    body: Incoming,
    /// Drives the connection.
    _connection: JoinSet<()>,
}

impl ApiResponse {
    /// Returns the response if its status is 200.
    pub(crate) async fn succeeded(self) -> Result<Self, ApiServerError> {
        match self.status {
            StatusCode::OK => Ok(self),
            status => {
                let body = self.bytes(MAX_ERROR).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&body);
                let refused = Refused::new(status.as_u16(), &text);
                Err(ApiServerError::Refused(refused))
            }
        }
    }

    /// Returns the next bytes of the body, or `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiServerError> {
        while let Some(frame) = self.body.frame().await {
            // Trailers hold nothing that is wanted.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the body.
    ///
    /// # Errors
    /// Fails if it is longer than `limit`.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, ApiServerError> {
        let mut read = BytesMut::new();
        while let Some(data) = self.next().await? {
            if read.len() + data.len() > limit {
                let message = format!("it is longer than {limit} bytes");
                return Err(ApiServerError::Malformed(message));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<ApiResponse, ApiServerError> {
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = JoinSet::new();
    connection.spawn(async move {
        // The request and the body learn how it ended.
        driver.await.ok();
    });
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(ApiResponse {
        status: head.status,
        body,
        _connection: connection,
    })
}

fn bearer(token: &AuthorizationToken) -> Result<HeaderValue, ApiServerError> {
    let value = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&value).map_err(|_not_visible| {
        ApiServerError::Malformed(
            "the token of the service account is not a valid header value".to_owned(),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, ApiServerError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ApiServerError::Connect(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

const AGENT: &str = concat!("pod-identity-agent/", env!("CARGO_PKG_VERSION"));

/// What is read of an error.
const MAX_ERROR: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use pod_identity_testkit::{Fault, MockApiServer, Operation};

    use super::*;

    #[test]
    fn a_url_is_https_or_loopback_and_has_no_path() {
        for (url, authority) in [
            ("https://10.100.0.1:443", "10.100.0.1:443"),
            (
                "https://kubernetes.default.svc/",
                "kubernetes.default.svc:443",
            ),
            ("https://[fd00::1]:6443", "[fd00::1]:6443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]", "[::1]:80"),
        ] {
            let server = ApiServer::new(url, "/nonexistent").unwrap();
            assert_eq!(server.authority(), authority, "{url}");
        }
        for url in [
            "",
            "10.100.0.1",
            "http://10.100.0.1",
            "http://localhost",
            "https://",
            "ftp://127.0.0.1",
            "https://10.100.0.1/api",
            "https://10.100.0.1/?x",
            "https://10.100.0.1:99999",
            "https://[fd00::1]:port",
            "https://host:host",
        ] {
            assert!(ApiServer::new(url, "/nonexistent").is_err(), "{url}");
        }
    }

    async fn get(server: &ApiServer) -> Result<Bytes, String> {
        let got = async {
            let response = server.get("/openid/v1/jwks", "*/*").await?;
            response.succeeded().await?.bytes(64 * 1024).await
        };
        got.await.map_err(|error: ApiServerError| error.to_string())
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_used_is_left_out_and_none_is_an_error() {
        let mock = MockApiServer::start().await;
        let files = tempfile::tempdir().unwrap();
        let given = |name| mock.service_account_dir().join(name);
        std::fs::copy(given("token"), files.path().join("token")).unwrap();
        let good = std::fs::read_to_string(given("ca.crt")).unwrap();
        let bad = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
        let server = ApiServer::new(&mock.url(), files.path()).unwrap();
        for (certificates, reason) in [
            (format!("{bad}{good}"), None),
            (format!("{good}{bad}"), None),
            (
                bad.to_owned(),
                Some("invalid peer certificate: BadEncoding"),
            ),
            (String::new(), Some("it holds no PEM certificate")),
        ] {
            std::fs::write(files.path().join("ca.crt"), certificates).unwrap();
            match (get(&server).await, reason) {
                (Ok(keys), None) => assert!(keys.starts_with(b"{\"keys\"")),
                (Err(error), Some(reason)) => assert!(error.contains(reason), "{error}"),
                (got, reason) => panic!("{got:?}, expected {reason:?}"),
            }
        }
    }

    #[tokio::test]
    async fn each_request_reads_the_token_anew_and_trusts_the_cluster_only() {
        let mock = MockApiServer::start().await;
        let server = ApiServer::new(&mock.url(), mock.service_account_dir()).unwrap();
        assert!(get(&server).await.unwrap().starts_with(b"{\"keys\""));
        mock.rotate_token().unwrap();
        mock.revoke_old_tokens();
        get(&server).await.unwrap();

        let other = MockApiServer::start().await;
        let strangers_ca = ApiServer::new(&mock.url(), other.service_account_dir()).unwrap();
        let error = get(&strangers_ca).await.unwrap_err();
        assert!(error.starts_with("the API server cannot be reached: invalid peer certificate"));
        let [first, second] = [&mock.requests()[0], &mock.requests()[1]];
        assert_ne!(first.token, second.token);
        let user_agent = first.user_agent.as_deref().unwrap();
        assert!(
            user_agent.starts_with("pod-identity-agent/"),
            "{user_agent}"
        );
    }

    #[tokio::test]
    async fn an_error_has_its_cause_and_its_cure_and_no_token() {
        let mock = MockApiServer::start().await;
        let server = ApiServer::new(&mock.url(), mock.service_account_dir()).unwrap();
        mock.on(Operation::JsonWebKeySet)
            .inject(Fault::error("Forbidden"));
        let error = get(&server).await.unwrap_err();
        assert_eq!(
            error,
            "the API server answered 403: injected; give the agent's service account this permission"
        );
        mock.on(Operation::JsonWebKeySet).inject(Fault::oversize());
        let error = get(&server).await.unwrap_err();
        assert!(error.contains("longer than 65536 bytes"), "{error}");
        mock.stop().await;
        let error = get(&server).await.unwrap_err();
        assert!(
            error.starts_with("the API server cannot be reached"),
            "{error}"
        );
        let nowhere = ApiServer::new("https://127.0.0.1:1", "/nonexistent").unwrap();
        let error = get(&nowhere).await.unwrap_err();
        assert!(error.contains("/nonexistent/token"), "{error}");
        mock.assert_no_secrets(&format!("{error} {server:?}"));
    }
}
