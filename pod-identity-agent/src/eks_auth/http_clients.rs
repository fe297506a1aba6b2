use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::eks_auth::clock_skew::ClockSkew;
use crate::eks_auth::connector::GuardedConnector;
use crate::eks_auth::unavailable::{Cause, Unavailable};

/// The client for EKS Auth and STS, by [`aws_connector`]. All its clones share one connection pool.
///
/// # Errors
/// As [`aws_connector`].
pub(crate) fn aws_client(
    ca_bundle: Option<&Path>,
    clock_skew: &Arc<ClockSkew>,
) -> Result<SharedHttpClient, Unavailable> {
    let connector = aws_connector(ca_bundle, clock_skew)?;
    Ok(http_client_fn(move |_settings, _components| {
        connector.clone()
    }))
}

/// Connects over TLS, through the proxy that `HTTPS_PROXY` and `NO_PROXY` name. It trusts the system's roots
/// or, where `AWS_CA_BUNDLE` names a file, the roots in that file only, as the AWS CLI does.
///
/// # Errors
/// Fails if the file cannot be read or holds no certificate.
pub(crate) fn aws_connector(
    ca_bundle: Option<&Path>,
    clock_skew: &Arc<ClockSkew>,
) -> Result<SharedHttpConnector, Unavailable> {
    let mut tls = TlsContext::builder();
    if let Some(path) = ca_bundle {
        let unusable = |source: Cause| Unavailable::CaBundle {
            path: path.to_owned(),
            source,
        };
        let pem = std::fs::read(path).map_err(|error| unusable(Arc::new(error)))?;
        check_certificates(&pem).map_err(|message| {
            unusable(Arc::from(Box::<dyn Error + Send + Sync>::from(message)))
        })?;
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls.build().map_err(Unavailable::other)?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build();
    Ok(SharedHttpConnector::new(GuardedConnector {
        inner: SharedHttpConnector::new(connector),
        clock_skew: Arc::clone(clock_skew),
    }))
}

/// The AWS client panics at a bundle with a certificate that rustls cannot use.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        certificate
            .map_err(|error| format!("{error:?}"))
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!("its certificate {number} is not usable, remove or correct it: {error}")
            })?;
    }
    if roots.is_empty() {
        return Err("it holds no PEM certificate".to_owned());
    }
    Ok(())
}

/// The client for instance metadata and for mocks on loopback: no TLS, and never a proxy.
pub(crate) fn loopback_client() -> SharedHttpClient {
    Builder::new().build_http()
}

/// A connection that is not made within this time fails; an attempt as a whole has 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bundle: &Path) -> String {
        let error = aws_client(Some(bundle), &Arc::default()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn an_unusable_ca_bundle_is_named_in_the_error() {
        let missing = refused(Path::new("/nonexistent/ca.pem"));
        assert!(
            missing.starts_with("AWS_CA_BUNDLE names /nonexistent/ca.pem, which cannot be used: "),
            "{missing}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = refused(file.path());
        assert!(empty.ends_with("it holds no PEM certificate"), "{empty}");
    }

    #[test]
    fn an_unusable_certificate_is_an_error_and_not_a_panic() {
        let valid = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let valid = valid.cert.pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        for bad in [
            "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nbm8gY2Vy",
        ] {
            std::fs::write(file.path(), format!("{valid}{bad}")).unwrap();
            let error = refused(file.path());
            assert!(error.contains("its certificate 2 is not usable"), "{error}");
        }
        std::fs::write(file.path(), valid).unwrap();
        aws_client(Some(file.path()), &Arc::default()).unwrap();
    }
}
