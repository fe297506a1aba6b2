use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use pod_identity_core::{Clock, SystemClock};
use tokio::net::TcpListener;

use super::certificate_files::load_or_generate;
use super::identities_file::IdentitiesFile;
use super::request::WebhookRequest;
use super::service::{Acceptor, PATH, WebhookService};
use crate::fault::queue::FaultQueue;
use crate::http::gates::Gates;
use crate::http::tls::Identity;
use crate::mock::handle::Handle;
use crate::mock::hosting::{Hosting, HostingOptions, builder_methods};
use crate::mock::methods::{gate_method, mock_methods};
use crate::mock::mock_server::MockServer;
use crate::record::recorder::Recorder;
use crate::{Blocking, Expectations, WebhookConfig};

/// The mutating webhook of EKS on a loopback port: it serves [`mutate_pod`](crate::mutate_pod) at `/mutate`,
/// over TLS with a self-signed certificate.
///
/// It answers an `AdmissionReview` of `admission.k8s.io/v1` or `v1beta1` in the version of the request. It allows
/// a pod of an unknown service account without a patch. It answers 415 to another content type than
/// `application/json`, and 400 to what is not an `AdmissionReview`. For the latter, the official webhook answers
/// 200 with a review without a uid, which the API server treats as a failed call, too. `/healthz` answers `ok`;
/// this is for probes, so it is not recorded and no fault is for it.
///
/// What arrives is recorded, [faults](crate::MockAgent#faults) are those of the other mocks as far as they make sense
/// here, and [expectations](Self::expect) are verified when it is dropped. It serves on a thread of its own; for
/// virtual time see [`in_this_runtime`](MockWebhookBuilder::in_this_runtime). Dropping it closes the listener and
/// every connection. It needs the feature `webhook`.
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
    pub(crate) handle: Handle<WebhookService>,
    certificate_pem: Option<String>,
}

impl MockWebhook {
    /// Starts a mock with the defaults of [`builder`](Self::builder).
    ///
    /// # Panics
    /// Panics if no loopback port is free.
    pub async fn start(config: WebhookConfig) -> Self {
        Self::builder(config)
            .start()
            .await
            .expect("a loopback port must be free")
    }

    /// Starts a mock for a test without a runtime.
    ///
    /// # Panics
    /// Panics if no loopback port is free. Panics within a runtime: use [`start`](Self::start) there.
    #[track_caller]
    pub fn start_blocking(config: WebhookConfig) -> Blocking<Self> {
        Self::builder(config)
            .start_blocking()
            .expect("a loopback port must be free")
    }

    /// Returns a builder of a mock.
    pub fn builder(config: WebhookConfig) -> MockWebhookBuilder {
        MockWebhookBuilder {
            config,
            file: None,
            names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into(),
            certificate: None,
            listener: None,
            plain: false,
            clock: Arc::new(SystemClock),
            hosting: HostingOptions::default(),
        }
    }

    /// Returns `https://127.0.0.1:{port}/mutate`, or `http://…` if it is [plain](MockWebhookBuilder::plain).
    /// A restart does not change it.
    pub fn uri(&self) -> String {
        let scheme = match self.certificate_pem {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}{PATH}", self.handle.server.reachable())
    }

    /// Returns its certificate in PEM, or `None` if it is [plain](MockWebhookBuilder::plain). A generated
    /// certificate is its own authority: in base64, it is the `caBundle` of a `MutatingWebhookConfiguration`.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Adds expectations of all requests, which are verified when the mock is dropped or [`verify`](Self::verify) is
    /// called.
    pub fn expect(&self) -> Expectations<'_, WebhookRequest> {
        Expectations::new(&self.handle.expectations)
    }
}

gate_method!(MockWebhook);
mock_methods!(MockWebhook, MockWebhookBuilder, WebhookRequest);

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
    clock: Arc<dyn Clock>,
    hosting: HostingOptions,
}

impl MockWebhookBuilder {
    /// Reads the service accounts from a configuration file, `{"identities":[{"namespace","serviceAccount"}]}`.
    /// Defaults to those of the [`WebhookConfig`].
    ///
    /// A change is effective from the next request on. While the file is malformed, the last well-formed version
    /// is used, and before the first one the service accounts of the [`WebhookConfig`]. A missing or empty file
    /// has no service account.
    pub fn identities_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Adds a name or address to the generated certificate, such as `pod-identity-webhook.default.svc`. It always
    /// has `localhost`, `127.0.0.1` and `::1`.
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

    /// Sets the listener. Defaults to an ephemeral port of 127.0.0.1.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Serves HTTP without TLS, for clients other than an API server.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Sets the clock of the records and of the times of faults. Defaults to the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn start_on(self, hosting: Hosting) -> io::Result<MockWebhook> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let (certificate_pem, tls) = match self.plain {
            true => (None, None),
            false => {
                let identity = match &self.certificate {
                    Some((certificate, key)) => load_or_generate(certificate, key, self.names)?,
                    None => Identity::generate(self.names)?,
                };
                let acceptor = Acceptor(identity.acceptor);
                (Some(identity.certificate_pem), Some(acceptor))
            }
        };
        let known = self.config.known().clone();
        let service = WebhookService {
            file: self.file.map(|path| IdentitiesFile::new(path, known)),
            config: self.config,
            tls,
            clock: self.clock,
            faults: FaultQueue::default(),
            gates: Gates::default(),
            recorder: Recorder::new(self.hosting.record_limit),
        };
        let server = MockServer::start(&hosting.host, listener, service)?;
        Ok(MockWebhook {
            handle: Handle::new(server, Vec::new(), hosting),
            certificate_pem,
        })
    }
}

builder_methods!(
    MockWebhookBuilder,
    MockWebhook,
    "mock-webhook",
    "Fails if no loopback port is free, a name cannot be in a certificate, or the files of a certificate cannot be read, written or used."
);
