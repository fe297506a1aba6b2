use std::io;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key, and what accepts connections with it.
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) acceptor: TlsAcceptor,
}

impl Identity {
    /// Generates a certificate for these names and addresses, which is its own authority.
    pub(crate) fn generate(names: Vec<String>) -> io::Result<Self> {
        let (certificate, key) = self_signed(names)?;
        Self::parse(certificate, &key)
    }

    pub(crate) fn parse(certificate_pem: String, key_pem: &str) -> io::Result<Self> {
        let certificates = CertificateDer::pem_slice_iter(certificate_pem.as_bytes());
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(invalid)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(invalid)?;
        let config = server_config(certificates, key).map_err(invalid)?;
        Ok(Self {
            certificate_pem,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

/// Returns the certificate and its key, in PEM.
pub(crate) fn self_signed(names: Vec<String>) -> io::Result<(String, String)> {
    let generated = rcgen::generate_simple_self_signed(names).map_err(invalid)?;
    Ok((generated.cert.pem(), generated.signing_key.serialize_pem()))
}

fn server_config(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    // The API server offers HTTP/2 as well.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
