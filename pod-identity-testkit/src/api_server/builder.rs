use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use pod_identity_core::{Clock, SystemClock};
use tokio::net::TcpListener;

use crate::api_server::objects::Objects;
use crate::api_server::service::ApiServerService;
use crate::api_server::service_account::ServiceAccount;
use crate::fault::fault_queues::FaultQueues;
use crate::http::gates::Gates;
use crate::http::tls::Identity;
use crate::mock::hosting::{Hosting, HostingOptions, builder_methods};
use crate::mock::mock_server::MockServer;
use crate::record::recorder::Recorder;
use crate::{Issuer, MockApiServer};

/// Sets up a [`MockApiServer`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use pod_identity_testkit::{MockApiServer, MockEksAuth};
///
/// // Both sides of one cluster.
/// let eks = MockEksAuth::start().await;
/// let builder = MockApiServer::builder().issuer(eks.issuer().clone());
/// let api_server = builder.version("v1.33.5-eks-0000000").start().await?;
/// assert_eq!(api_server.issuer().url(), eks.issuer().url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a mock comes from `start`"]
pub struct MockApiServerBuilder {
    issuer: Issuer,
    version: String,
    account: (String, String),
    names: Vec<String>,
    clock: Arc<dyn Clock>,
    listener: Option<TcpListener>,
    hosting: HostingOptions,
}

impl MockApiServerBuilder {
    /// Sets the issuer whose keys are served. Defaults to [`Issuer::new`].
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = issuer;
        self
    }

    /// Sets the version of Kubernetes. Defaults to one of EKS, `v1.34.1-eks-0000000`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the service account whose token is accepted and written. Defaults to `eks-pod-identity-agent` in
    /// `kube-system`.
    pub fn service_account(
        mut self,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        self.account = (namespace.into(), name.into());
        self
    }

    /// Adds a name or address to the certificate. It always has `localhost`, `127.0.0.1`, `::1`,
    /// `kubernetes.default.svc` and `kubernetes`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Sets the clock of times and faults. Defaults to the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the listener. Defaults to an ephemeral port of 127.0.0.1.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    async fn start_on(self, hosting: Hosting) -> io::Result<MockApiServer> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let identity = Identity::generate(self.names)?;
        let (namespace, name) = self.account;
        let (issuer, now) = (self.issuer, self.clock.now());
        let ca_pem = &identity.certificate_pem;
        let account = ServiceAccount::create(namespace, name, issuer.clone(), ca_pem, now)?;
        let service = ApiServerService {
            issuer,
            version: Mutex::new(self.version),
            objects: Mutex::new(Objects::default()),
            account,
            tls: identity.acceptor,
            clock: self.clock,
            faults: FaultQueues::new(),
            gates: Gates::default(),
            recorder: Recorder::new(self.hosting.record_limit),
        };
        let server = MockServer::start(&hosting.host, listener, service)?;
        Ok(MockApiServer::new(
            server,
            hosting,
            identity.certificate_pem,
        ))
    }
}

builder_methods!(
    MockApiServerBuilder,
    MockApiServer,
    "mock-api-server",
    "Fails if there is no free port, no thread or no temporary directory, or if a name cannot be in a certificate."
);

impl Default for MockApiServerBuilder {
    fn default() -> Self {
        let names = [
            "localhost",
            "127.0.0.1",
            "::1",
            "kubernetes.default.svc",
            "kubernetes",
        ];
        Self {
            issuer: Issuer::new(),
            version: "v1.34.1-eks-0000000".to_owned(),
            account: (
                "kube-system".to_owned(),
                "eks-pod-identity-agent".to_owned(),
            ),
            names: names.map(str::to_owned).into(),
            clock: Arc::new(SystemClock),
            listener: None,
            hosting: HostingOptions::default(),
        }
    }
}
