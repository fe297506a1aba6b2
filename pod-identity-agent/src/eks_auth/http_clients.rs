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

use crate::eks_auth::clock_skew::ClockSkew;
use crate::eks_auth::connector::GuardedConnector;
use crate::eks_auth::unavailable::{Cause, Unavailable};

/// The client for EKS Auth and STS: TLS, through the proxy that `HTTPS_PROXY` and `NO_PROXY` name. It trusts
/// the system's roots or, where `AWS_CA_BUNDLE` names a file, the roots in that file only, as the AWS CLI
/// does. Everything that it is given to shares one pool of connections.
///
/// # Errors
/// Fails if the file cannot be read or holds no certificate.
pub(crate) fn aws_client(
    ca_bundle: Option<&Path>,
    clock_skew: &Arc<ClockSkew>,
) -> Result<SharedHttpClient, Unavailable> {
    let mut tls = TlsContext::builder();
    if let Some(path) = ca_bundle {
        let unusable = |source: Cause| Unavailable::CaBundle {
            path: path.to_owned(),
            source,
        };
        let pem = std::fs::read(path).map_err(|error| unusable(Arc::new(error)))?;
        if !pem
            .windows(PEM_BEGIN.len())
            .any(|window| window == PEM_BEGIN)
        {
            return Err(unusable(Arc::from(Box::<dyn Error + Send + Sync>::from(
                "it holds no PEM certificate",
            ))));
        }
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
    let connector = SharedHttpConnector::new(GuardedConnector {
        inner: SharedHttpConnector::new(connector),
        clock_skew: Arc::clone(clock_skew),
    });
    Ok(http_client_fn(move |_settings, _components| {
        connector.clone()
    }))
}

/// The client for instance metadata and for mocks on loopback: no TLS, and never a proxy.
pub(crate) fn loopback_client() -> SharedHttpClient {
    Builder::new().build_http()
}

/// A connection that is not made within this time fails; an attempt as a whole has 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bundle: &Path) -> String {
        let error = aws_client(Some(bundle), &Arc::default()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn a_bundle_that_cannot_be_used_is_named() {
        let missing = refused(Path::new("/nonexistent/ca.pem"));
        assert!(
            missing.starts_with("AWS_CA_BUNDLE names /nonexistent/ca.pem, which cannot be used: "),
            "{missing}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = refused(file.path());
        assert!(empty.ends_with("it holds no PEM certificate"), "{empty}");
    }
}
