use std::io;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// A certificate that signed itself, and what accepts connections with it.
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) acceptor: TlsAcceptor,
}

impl Identity {
    /// A new one for these names and addresses.
    pub(crate) fn generate(names: Vec<String>) -> io::Result<Self> {
        let generated = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let config = server_config(&generated).map_err(io::Error::other)?;
        Ok(Self {
            certificate_pem: generated.cert.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

fn server_config(
    generated: &CertifiedKey<KeyPair>,
) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let key = PrivatePkcs8KeyDer::from(generated.signing_key.serialize_der());
    let certificates = vec![generated.cert.der().clone()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key.into())?;
    // The API server offers HTTP/2 as well.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
