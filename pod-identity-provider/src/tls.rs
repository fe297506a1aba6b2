use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::ConfigError;

/// TLS with the system's root certificates, so that a company's own authority counts.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the root certificates: the platform's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name.
    pub(crate) fn with_system_roots() -> Result<Self, ConfigError> {
        let fail = |reason| Err(ConfigError::Tls { reason });
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _unusable) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.first().map(|error| format!(": {error}"));
            return fail(format!(
                "no root certificates were found{}",
                reason.unwrap_or_default()
            ));
        }
        match ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
        {
            Ok(config) => Ok(Self(Arc::new(
                config.with_root_certificates(roots).with_no_client_auth(),
            ))),
            Err(error) => fail(error.to_string()),
        }
    }

    /// `host` as in the URI: a name, or an address, which may be in brackets.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone())
            .connect(name, stream)
            .await
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}
