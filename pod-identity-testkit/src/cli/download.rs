use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Returns the body of a GET, of at most 1 MiB, within 10 seconds. A redirect is an error: the token would go
/// to another host.
///
/// # Errors
/// Fails if the URL is neither http nor https, the server cannot be reached or trusted, or it answers with another
/// status than 200.
pub(super) async fn download(
    uri: &Uri,
    token: Option<&str>,
    ca: Option<&Path>,
) -> io::Result<String> {
    let late = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s");
    let answer = tokio::time::timeout(TIMEOUT, get(uri, token, ca));
    answer.await.map_err(late)?
}

async fn get(uri: &Uri, token: Option<&str>, ca: Option<&Path>) -> io::Result<String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let connect = |port| TcpStream::connect((host, uri.port_u16().unwrap_or(port)));
    match uri.scheme_str() {
        Some("http") => send(connect(80).await?, uri, token).await,
        Some("https") => send(tls(connect(443).await?, host, ca).await?, uri, token).await,
        _ => Err(io::Error::other("expected a URL with http or https")),
    }
}

#[cfg(feature = "webhook")]
async fn tls(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let ca = ca.ok_or_else(|| io::Error::other("an https URL needs its authority in --jwks-ca"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[cfg(not(feature = "webhook"))]
async fn tls(_stream: TcpStream, _host: &str, _ca: Option<&Path>) -> io::Result<TcpStream> {
    let message = "https needs a program that was built with the feature `webhook`";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    token: Option<&str>,
) -> io::Result<String> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(target).header(HOST, authority);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim_end()));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;

    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(io::Error::other)?;
    let answer = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        if answer.status() != http::StatusCode::OK {
            return Err(io::Error::other(format!(
                "the answer is {}",
                answer.status()
            )));
        }
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        String::from_utf8(body.into()).map_err(io::Error::other)
    };
    tokio::pin!(connection);
    tokio::select! {
        answer = answer => answer,
        // It ends first only if it fails; then the answer says why.
        Err(error) = &mut connection => Err(io::Error::other(error)),
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1024 * 1024;
