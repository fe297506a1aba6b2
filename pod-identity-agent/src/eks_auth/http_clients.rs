use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

use crate::eks_auth::clock_skew::ClockSkew;
use crate::eks_auth::connector::GuardedConnector;
use crate::eks_auth::trusted_roots;
use crate::eks_auth::unavailable::Unavailable;

/// The client for EKS Auth and STS, by [`aws_connector`]. All its clones share one connection pool.
///
/// # Errors
/// As [`aws_connector`].
pub(crate) fn aws_client(
    ca_bundle: Option<&Path>,
    clock_skew: &Arc<ClockSkew>,
) -> Result<SharedHttpClient, Unavailable> {
    Ok(client_of(aws_connector(ca_bundle, clock_skew)?))
}

/// A client that uses this connector, with its connection pool.
pub(crate) fn client_of(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_settings, _components| connector.clone())
}

/// Connects over TLS, through the proxy that `HTTPS_PROXY` and `NO_PROXY` name. It trusts the system's roots
/// or, where `AWS_CA_BUNDLE` names a file, the roots in that file only, as the AWS CLI does.
///
/// # Errors
/// Fails if the file cannot be read or holds no certificate, and while the system's roots cannot be read because there
/// are too many open files or there is no memory.
pub(crate) fn aws_connector(
    ca_bundle: Option<&Path>,
    clock_skew: &Arc<ClockSkew>,
) -> Result<SharedHttpConnector, Unavailable> {
    let roots = match ca_bundle {
        Some(path) => trusted_roots::of_bundle(path)?,
        None => trusted_roots::of_system()?,
    };
    let tls = TlsContext::builder().with_trust_store(roots);
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

/// The client for instance metadata and for mocks on loopback: no TLS, and never a proxy.
pub(crate) fn loopback_client() -> SharedHttpClient {
    Builder::new().build_http()
}

/// A connection that is not made within this time fails; an attempt as a whole has 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
