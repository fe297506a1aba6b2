use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::identities_file::IdentitiesFile;
use super::service::{PATH, WebhookService};
use super::tls::Identity;
use crate::WebhookConfig;
use crate::http::server::Server;

/// The mutating webhook of EKS on a loopback port: [`mutate_pod`](crate::mutate_pod) behind `/mutate`,
/// over TLS with a certificate that signed itself.
///
/// It answers `AdmissionReview` of `admission.k8s.io/v1` and `v1beta1` in the version of the question.
/// A pod of no known service account is allowed without a patch. What has another content type than
/// `application/json` is refused with 415, and what is no `AdmissionReview` with 400; the official
/// webhook answers the latter with 200 and a review without a uid, which the API server counts as a
/// failed call as well. `/healthz` says `ok`.
///
/// Dropping it closes the listener and every connection. It needs the feature `webhook`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{MockWebhook, WebhookConfig};
///
/// let webhook = MockWebhook::start(WebhookConfig::new().identity("shop", "cart")).await;
/// // … a MutatingWebhookConfiguration with `webhook.uri()` and, in base64, `webhook.certificate_pem()` …
/// assert!(webhook.uri().starts_with("https://127.0.0.1:"));
/// # }
/// ```
#[derive(Debug)]
pub struct MockWebhook {
    server: Server<WebhookService>,
    certificate_pem: Option<String>,
}

impl MockWebhook {
    /// A mock with every default of [`builder`](Self::builder), on the current tokio runtime.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn start(config: WebhookConfig) -> Self {
        Self::builder(config)
            .start()
            .await
            .expect("a loopback port must be free")
    }

    /// A mock to be set up before it starts.
    pub fn builder(config: WebhookConfig) -> MockWebhookBuilder {
        MockWebhookBuilder {
            config,
            file: None,
            names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into(),
            certificate: None,
            listener: None,
            plain: false,
        }
    }

    /// `https://127.0.0.1:{port}/mutate`, or `http://…` where it is [plain](MockWebhookBuilder::plain).
    /// It stays the same over a restart.
    pub fn uri(&self) -> String {
        let scheme = match self.certificate_pem {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}{PATH}", self.server.reachable())
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its certificate in PEM. A generated one is its own authority: in base64, it is the `caBundle` of a
    /// `MutatingWebhookConfiguration`. None where it is [plain](MockWebhookBuilder::plain).
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Closes the listener and every connection, and returns when that is done: from now on
    /// connections are refused.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again on the same port. Does nothing if it does already.
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }
}

/// Sets up a [`MockWebhook`].
#[derive(Debug)]
#[must_use = "a mock comes from `start`"]
pub struct MockWebhookBuilder {
    config: WebhookConfig,
    file: Option<PathBuf>,
    names: Vec<String>,
    certificate: Option<(PathBuf, PathBuf)>,
    listener: Option<TcpListener>,
    plain: bool,
}

impl MockWebhookBuilder {
    /// The configuration file, `{"identities":[{"namespace","serviceAccount"}]}`; the identities of the
    /// [`WebhookConfig`] by default.
    ///
    /// A change of it counts from the next request on. A malformed file counts as what it said before,
    /// at first as the identities of the [`WebhookConfig`]; one that is missing or empty names nobody.
    pub fn identities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Another name or address that the certificate is for, such as
    /// `pod-identity-webhook.default.svc`. `localhost`, `127.0.0.1` and `::1` always are.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Uses the certificate and the private key of these files, in PEM, instead of a new certificate at
    /// each start.
    ///
    /// If neither file exists, the certificate is generated and written there with its key. So the first
    /// start makes the `caBundle` of a registration, and it stays right over every restart.
    pub fn certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Where it listens instead of an ephemeral port of 127.0.0.1.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Speaks HTTP without TLS, for clients that are no API server.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    /// If no loopback port is free, a name cannot be in a certificate, or the files of a certificate cannot
    /// be read, written or used.
    pub async fn start(self) -> io::Result<MockWebhook> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let (certificate_pem, tls) = match self.plain {
            true => (None, None),
            false => {
                let identity = match &self.certificate {
                    Some((certificate, key)) => {
                        Identity::load_or_generate(certificate, key, self.names)?
                    }
                    None => Identity::generate(self.names)?,
                };
                (Some(identity.certificate_pem), Some(identity.acceptor))
            }
        };
        let known = self.config.known().clone();
        let service = WebhookService {
            file: self.file.map(|path| IdentitiesFile::new(path, known)),
            config: self.config,
            tls,
        };
        Ok(MockWebhook {
            server: Server::start(listener, Arc::new(service))?,
            certificate_pem,
        })
    }
}
