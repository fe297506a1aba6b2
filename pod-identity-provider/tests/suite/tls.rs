//! `https` endpoints.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_provider::{
    Builder, ConfigError, Endpoint, FetchError, HttpTransport, PodIdentityProvider, Tls,
};
use pod_identity_testkit::MockAgent;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;

const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

#[tokio::test]
async fn a_certificate_trusted_by_the_system_is_accepted() {
    if crate::support::is_child() {
        PodIdentityProvider::from_env().credentials().await.unwrap();
        return;
    }
    let server = Server::start().await;
    let env = server.env("localhost", &server);
    crate::support::run_in_child("tls::a_certificate_trusted_by_the_system_is_accepted", env).await;
    assert_eq!(server.agent.served().len(), 1);
}

#[tokio::test]
async fn an_untrusted_certificate_or_one_for_another_host_is_refused() {
    if crate::support::is_child() {
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
    for env in [
        server.env("localhost", &other),
        server.env("127.0.0.1", &server),
    ] {
        let test = "tls::an_untrusted_certificate_or_one_for_another_host_is_refused";
        crate::support::run_in_child(test, env).await;
    }
    assert_eq!(server.agent.connection_count(), 0);
}

#[tokio::test]
async fn without_any_root_certificate_the_configuration_is_invalid() {
    if crate::support::is_child() {
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
    crate::support::run_in_child(
        "tls::without_any_root_certificate_the_configuration_is_invalid",
        env,
    )
    .await;
}

#[tokio::test]
async fn given_root_certificates_are_trusted_and_no_others() {
    let (server, other) = (Server::start().await, Server::start().await);
    for (trusted, succeeds) in [(&server, true), (&other, false)] {
        let pem = std::fs::read(trusted.authority.path()).unwrap();
        let builder = server.builder().tls(Tls::with_roots(&pem).unwrap());
        let result = builder.build().unwrap().credentials().await;
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
    }
}

#[cfg(feature = "rustls_0_23")]
#[tokio::test]
async fn a_given_client_configuration_is_used() {
    let server = Server::start().await;
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let config = tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(
        ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let builder = server.builder().tls(Tls::with_config(Arc::new(config)));
    builder.build().unwrap().credentials().await.unwrap();
}

#[test]
fn an_invalid_root_certificate_is_refused() {
    for (pem, reason) in [
        ("", "the PEM text holds no root certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "a root certificate cannot be used: ",
        ),
    ] {
        let error = Tls::with_roots(pem.as_bytes()).unwrap_err().to_string();
        let expected = format!("TLS cannot be set up: {reason}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn an_https_endpoint_with_a_transport_that_has_no_tls_is_refused_when_built() {
    let endpoint = Endpoint::parse("https://localhost/").unwrap();
    let transport = Arc::new(HttpTransport::new(Duration::from_secs(1)));
    let builder = PodIdentityProvider::builder().endpoint(endpoint).no_token();
    let error = builder.transport(transport).build().unwrap_err();
    assert_eq!(error, ConfigError::TransportWithoutTls);
}

/// An agent behind a proxy that speaks TLS.
struct Server {
    agent: MockAgent,
    port: u16,
    authority: tempfile::NamedTempFile,
    #[cfg_attr(
        not(feature = "rustls_0_23"),
        expect(dead_code, reason = "for that feature")
    )]
    certificate: CertificateDer<'static>,
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
        let agent = MockAgent::builder().allow_host("localhost");
        let agent = agent.start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(terminate(listener, tls, agent.address()));
        Self {
            agent,
            port,
            authority,
            certificate: certificate.cert.der().clone(),
            _tasks: tasks,
        }
    }

    fn builder(&self) -> Builder {
        let uri = format!("https://localhost:{}/v1/credentials", self.port);
        PodIdentityProvider::builder()
            .environment(self.agent.lookup())
            .endpoint(Endpoint::parse(&uri).unwrap())
    }

    /// The environment of a pod that asks at this host, and trusts this authority.
    fn env(&self, host: &str, trusted: &Self) -> Vec<(&'static str, String)> {
        let mut env = self.agent.env();
        let uri = format!("https://{host}:{}/v1/credentials", self.port);
        env.push((FULL_URI, uri));
        let trusted = trusted.authority.path().to_str().unwrap();
        env.push(("SSL_CERT_FILE", trusted.to_owned()));
        env
    }
}

async fn terminate(listener: TcpListener, tls: TlsAcceptor, agent: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        if let Ok(mut stream) = tls.accept(stream).await {
            let mut agent = TcpStream::connect(agent).await.unwrap();
            // How it ends is the client's affair.
            let _end = copy_bidirectional(&mut stream, &mut agent).await;
        }
    }
}
