//! `https` endpoints.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use pod_identity_provider::{FetchError, PodIdentityProvider};
use support::good_body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

#[tokio::test]
async fn a_certificate_of_the_systems_authorities_is_accepted() {
    if support::is_child() {
        PodIdentityProvider::from_env().credentials().await.unwrap();
        return;
    }
    let server = Server::start().await;
    let trusted = server.authority.path().to_str().unwrap().to_owned();
    let env = vec![
        (FULL_URI, server.uri("localhost")),
        ("SSL_CERT_FILE", trusted),
    ];
    support::run_in_child("a_certificate_of_the_systems_authorities_is_accepted", env).await;
}

#[tokio::test]
async fn a_certificate_of_nobody_or_for_another_host_is_refused() {
    if support::is_child() {
        let error = PodIdentityProvider::from_env()
            .credentials()
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains("no secure connection: invalid peer certificate"),
            "{error}"
        );
        return;
    }
    let (server, other) = (Server::start().await, Server::start().await);
    for (uri, trusted) in [
        (server.uri("localhost"), &other),
        (server.uri("127.0.0.1"), &server),
    ] {
        let trusted = trusted.authority.path().to_str().unwrap().to_owned();
        let env = vec![(FULL_URI, uri), ("SSL_CERT_FILE", trusted)];
        support::run_in_child(
            "a_certificate_of_nobody_or_for_another_host_is_refused",
            env,
        )
        .await;
    }
}

#[tokio::test]
async fn without_any_root_certificate_the_configuration_is_wrong() {
    if support::is_child() {
        let error = PodIdentityProvider::from_env()
            .credentials()
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("TLS cannot be set up: no root certificates were found"),
            "{error}"
        );
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap().to_owned();
    let file = empty.path().join("certificates.pem");
    std::fs::write(&file, "").unwrap();
    let env = vec![
        (FULL_URI, "https://localhost/".to_owned()),
        ("SSL_CERT_FILE", file.to_str().unwrap().to_owned()),
        ("SSL_CERT_DIR", folder),
    ];
    support::run_in_child(
        "without_any_root_certificate_the_configuration_is_wrong",
        env,
    )
    .await;
}

struct Server {
    port: u16,
    authority: tempfile::NamedTempFile,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let authority = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), certificate.cert.pem()).unwrap();
        let key = certificate.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self {
            port,
            authority,
            _tasks: tasks,
        }
    }

    fn uri(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.port)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = tls.accept(stream).await else {
            continue;
        };
        // The request is one write, and so one record.
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).await.unwrap(), 0);
        let body = good_body();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}
