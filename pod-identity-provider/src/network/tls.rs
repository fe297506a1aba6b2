use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::ConfigError;

/// The certificates by which the server of an `https` endpoint is trusted.
///
/// The default of a provider with such an endpoint is [`with_system_roots`](Self::with_system_roots).
///
/// ```no_run
/// use pod_identity_provider::{Endpoint, PodIdentityProvider, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let authority = std::fs::read("/etc/ssl/company.pem")?;
/// let provider = PodIdentityProvider::builder()
///     .endpoint(Endpoint::parse("https://credentials.internal/v1/credentials")?)
///     .tls(Tls::with_roots(&authority)?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the root certificates of the system, or of the files that `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name, which are read now. A company's own authority is usually among them.
    ///
    /// # Errors
    /// Fails with [`ConfigError::Tls`] if there is none.
    pub fn with_system_roots() -> Result<Self, ConfigError> {
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
        Self::trusting(roots)
    }

    /// Trusts these root certificates and no others: one or more in PEM.
    ///
    /// # Errors
    /// Fails with [`ConfigError::Tls`] if there is none, or if one cannot be read.
    pub fn with_roots(pem: &[u8]) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|der| roots.add(der).map_err(|error| error.to_string()));
            if let Err(reason) = added {
                return fail(format!("a root certificate cannot be used: {reason}"));
            }
        }
        if roots.is_empty() {
            return fail("the PEM text holds no root certificate".to_owned());
        }
        Self::trusting(roots)
    }

    /// Uses a whole configuration of rustls, for client certificates or another crypto provider.
    #[cfg(feature = "rustls_0_23")]
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, ConfigError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        match builder {
            Ok(config) => Ok(Self(Arc::new(
                config.with_root_certificates(roots).with_no_client_auth(),
            ))),
            Err(error) => fail(error.to_string()),
        }
    }

    /// Performs the handshake. `host` is as in the URI: a name, or an address, which may be in brackets.
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

fn fail(reason: String) -> Result<Tls, ConfigError> {
    Err(ConfigError::Tls { reason })
}
