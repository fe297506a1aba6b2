use std::path::Path;
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

/// The way to EKS Auth and STS: TLS, through the proxy that `HTTPS_PROXY` and `NO_PROXY` name, trusting
/// the system's roots or, where `AWS_CA_BUNDLE` names a file, the roots in that file only, as the AWS
/// CLI does.
///
/// One pool of connections for all that it is given to.
///
/// # Errors
/// A sentence that names the file, when it cannot be read or holds no certificate.
pub(crate) fn outward(ca_bundle: Option<&Path>) -> Result<SharedHttpClient, String> {
    let mut tls = TlsContext::builder();
    if let Some(path) = ca_bundle {
        let unusable = |error: &dyn std::fmt::Display| {
            format!(
                "AWS_CA_BUNDLE names {}, which cannot be used: {error}",
                path.display()
            )
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        if !pem
            .windows(PEM_BEGIN.len())
            .any(|window| window == PEM_BEGIN)
        {
            return Err(unusable(&"it holds no PEM certificate"));
        }
        tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
    }
    let tls = tls
        .build()
        .map_err(|error| format!("the trusted certificates cannot be used: {error}"))?;
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
    let connector = SharedHttpConnector::new(connector);
    Ok(http_client_fn(move |_settings, _components| {
        connector.clone()
    }))
}

/// The way to what lives on this machine, instance metadata and mocks: no TLS, and never a proxy.
pub(crate) fn local() -> SharedHttpClient {
    Builder::new().build_http()
}

/// A connection that is not made within this time fails; an attempt as a whole has 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_used_is_named() {
        let missing = outward(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(
            missing.starts_with("AWS_CA_BUNDLE names /nonexistent/ca.pem, which cannot be used: "),
            "{missing}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = outward(Some(file.path())).unwrap_err();
        assert!(empty.ends_with("it holds no PEM certificate"), "{empty}");
    }
}
