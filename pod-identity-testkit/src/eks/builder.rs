use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pod_identity_core::{Clock, Secret, SystemClock};
use tokio::net::TcpListener;

use crate::eks::account::Account;
use crate::eks::addon::Addons;
use crate::eks::associations::store::Associations;
use crate::eks::cluster::{ApiServer, Cluster};
use crate::eks::expiries::Expiries;
use crate::eks::iam::roles::Roles;
use crate::eks::service::EksAuthService;
use crate::eks::session::Sessions;
use crate::eks::sigv4::check::Keys;
use crate::eks::throttle::Throttle;
use crate::expect::expectation::Expectation;
use crate::fault::fault_queues::FaultQueues;
use crate::http::gates::Gates;
use crate::mock::hosting::{Hosting, HostingOptions, builder_methods};
use crate::mock::mock_server::{Agenda, MockServer};
use crate::record::recorder::Recorder;
use crate::{Association, Issuer, MockEksAuth, RecordedRequest, Role, SignatureCheck, Visibility};

/// Sets up a [`MockEksAuth`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::sync::Arc;
/// use pod_identity_core::Timestamp;
/// use pod_identity_testkit::{MockEksAuth, SettableClock};
///
/// let clock = Arc::new(SettableClock::at(Timestamp::from_unix_secs(1_772_366_400)));
/// let eks = MockEksAuth::builder().cluster("prod").region("eu-central-1").clock(clock).start().await?;
/// assert!(eks.issuer().url().contains("eu-central-1"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a mock comes from `start`"]
pub struct MockEksAuthBuilder {
    cluster: Option<String>,
    region: Option<String>,
    account: Option<String>,
    real_account: Option<Box<dyn Account>>,
    issuer: Option<Issuer>,
    clock: Arc<dyn Clock>,
    listener: Option<TcpListener>,
    roles: Vec<Role>,
    api_server: Option<ApiServer>,
    workload_identity_provider_arn: Option<String>,
    visibility: Option<Visibility>,
    api_visibility: Visibility,
    signatures: Option<SignatureCheck>,
    node_keys: BTreeMap<String, Secret>,
    cluster_limit: Option<(u32, u32)>,
    node_limit: Option<(u32, u32)>,
    defaults: EksAuthDefaults,
    agenda: Agenda,
    pub(crate) hosting: HostingOptions,
}

/// Settings that apply where the builder itself has none. Roles and keys are added to the builder's.
#[derive(Debug, Clone, Default)]
pub(crate) struct EksAuthDefaults {
    pub(crate) cluster: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) workload_identity_provider_arn: Option<String>,
    pub(crate) visibility: Option<DefaultVisibility>,
    pub(crate) signatures: Option<SignatureCheck>,
    pub(crate) node_keys: BTreeMap<String, Secret>,
    pub(crate) cluster_limit: Option<(u32, u32)>,
    pub(crate) node_limit: Option<(u32, u32)>,
    pub(crate) roles: Vec<Role>,
    pub(crate) associations: Vec<Association>,
    pub(crate) expectations: Vec<Expectation<RecordedRequest>>,
}

/// A [`Visibility`] whose gate is known by its name.
#[derive(Debug, Clone)]
pub(crate) enum DefaultVisibility {
    Is(Visibility),
    Gate(String),
}

impl DefaultVisibility {
    fn visibility(self, gates: &Gates) -> Visibility {
        match self {
            Self::Is(visibility) => visibility,
            Self::Gate(name) => Visibility::Gate(gates.named(&name)),
        }
    }
}

impl MockEksAuthBuilder {
    /// Sets the cluster's name. Defaults to `test-cluster`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// Sets the region. Defaults to `us-west-2`.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the 12-digit account of the cluster, for the ARN of an association. Defaults to `111122223333`.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Grants credentials of a real account, in place of the mock's own.
    pub(crate) fn real_account(mut self, account: Box<dyn Account>) -> Self {
        self.real_account = Some(account);
        self
    }

    /// Sets the issuer whose tokens are accepted. Defaults to [`Issuer::for_region`].
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Sets the clock that decides what has expired. Defaults to the system's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the socket to listen on. Defaults to an ephemeral port of 127.0.0.1.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Adds a role. Without any, every role exists and trusts every principal; with one, no other exists.
    pub fn role(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    /// Sets what `DescribeCluster` has of the API server: its URL, and its certificate authority in PEM. With
    /// those of a real cluster, `aws eks update-kubeconfig` leads `kubectl` there. By default the URL looks like
    /// EKS's, and no server answers there.
    pub fn api_server(mut self, endpoint: impl Into<String>, ca_pem: impl Into<String>) -> Self {
        self.api_server = Some(ApiServer {
            endpoint: endpoint.into(),
            ca_pem: ca_pem.into(),
        });
        self
    }

    /// Sets `workloadIdentityProviderArn` of EKS Auth's success, which the service's model has since August 2026.
    /// Absent by default, as before.
    pub fn workload_identity_provider_arn(mut self, arn: impl Into<String>) -> Self {
        self.workload_identity_provider_arn = Some(arn.into());
        self
    }

    /// Sets when EKS Auth sees what the associations API changes. Defaults to at once.
    pub fn visibility(mut self, visibility: impl Into<Visibility>) -> Self {
        self.visibility = Some(visibility.into());
        self
    }

    /// Sets when the associations API itself sees its own changes. Defaults to at once.
    ///
    /// Until then an association that was created is neither described nor listed, and one that was deleted
    /// is both, and creating it again fails with `ResourceInUseException`, as reported of the real service.
    pub fn api_visibility(mut self, visibility: impl Into<Visibility>) -> Self {
        self.api_visibility = visibility.into();
        self
    }

    /// Sets how signatures are checked. Defaults to [`SignatureCheck::Off`].
    pub fn signatures(mut self, check: SignatureCheck) -> Self {
        self.signatures = Some(check);
        self
    }

    /// Adds a key that can sign besides the minted ones: a node's, or an administrator's. A
    /// temporary key, whose id begins with `ASIA`, needs a session token, of any value; a long-term key, whose id
    /// begins with `AKIA`, must come without one.
    pub fn node_key(
        mut self,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<Secret>,
    ) -> Self {
        self.node_keys
            .insert(access_key_id.into(), secret_access_key.into());
        self
    }

    /// Limits requests for credentials to a rate per second with a burst, by the clock; the others are
    /// throttled. No limit by default.
    pub fn throttle_cluster(mut self, per_second: u32, burst: u32) -> Self {
        self.cluster_limit = Some((per_second, burst));
        self
    }

    /// As [`throttle_cluster`](Self::throttle_cluster), for each node, which is known by `eksNodeName`,
    /// `instanceId`, or the token's claim.
    pub fn throttle_nodes(mut self, per_second: u32, burst: u32) -> Self {
        self.node_limit = Some((per_second, burst));
        self
    }

    /// Sets defaults for the settings that the builder lacks, and the timeline that begins at the start.
    pub(crate) fn with_defaults(mut self, defaults: EksAuthDefaults, agenda: Agenda) -> Self {
        self.defaults = defaults;
        self.agenda = agenda;
        self
    }

    async fn start_on(mut self, hosting: Hosting) -> io::Result<MockEksAuth> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let agenda = mem::take(&mut self.agenda);
        let expectations = mem::take(&mut self.defaults.expectations);
        let server = MockServer::start(&hosting.host, listener, self.service())?;
        server.begin(agenda).await?;
        Ok(MockEksAuth::new(server, expectations, hosting))
    }

    /// The service without its socket.
    pub(crate) fn service(self) -> EksAuthService {
        let defaults = self.defaults;
        let gates = Gates::default();
        let region = self.region.or(defaults.region);
        let region = region.unwrap_or_else(|| "us-west-2".to_owned());
        let cluster = self.cluster.or(defaults.cluster);
        let account = self.account.or(defaults.account);
        let visibility = self
            .visibility
            .or_else(|| Some(defaults.visibility?.visibility(&gates)));
        // Those of the builder come last and take precedence.
        let roles = defaults.roles.into_iter().chain(self.roles).collect();
        let mut node_keys = defaults.node_keys;
        node_keys.extend(self.node_keys);
        let cluster = Cluster {
            issuer: self.issuer.unwrap_or_else(|| Issuer::for_region(&region)),
            name: cluster.unwrap_or_else(|| "test-cluster".to_owned()),
            region,
            account: account.unwrap_or_else(|| "111122223333".to_owned()),
            created_at: self.clock.now(),
            api_server: self.api_server,
            workload_identity_provider_arn: self
                .workload_identity_provider_arn
                .or(defaults.workload_identity_provider_arn),
            addons: Addons::default(),
            associations: Associations::new(visibility.unwrap_or_default(), self.api_visibility),
            roles: Roles::new(roles),
            expiries: Expiries::default(),
        };
        for association in defaults.associations {
            cluster.associations.put(association, self.clock.now());
        }
        EksAuthService {
            cluster,
            account: self.real_account,
            clock: self.clock,
            faults: FaultQueues::new(),
            gates,
            recorder: Recorder::new(self.hosting.record_limit),
            keys: Keys {
                nodes: node_keys,
                sessions: Sessions::new(self.hosting.record_limit),
            },
            signatures: self.signatures.or(defaults.signatures).unwrap_or_default(),
            throttle: Throttle::new(
                self.cluster_limit.or(defaults.cluster_limit),
                self.node_limit.or(defaults.node_limit),
            ),
            issuer_is_down: AtomicBool::new(false),
        }
    }
}

builder_methods!(
    MockEksAuthBuilder,
    MockEksAuth,
    "mock-eks-auth",
    "Fails if there is no free port or no thread."
);

impl Default for MockEksAuthBuilder {
    fn default() -> Self {
        Self {
            cluster: None,
            region: None,
            account: None,
            real_account: None,
            issuer: None,
            clock: Arc::new(SystemClock),
            listener: None,
            roles: Vec::new(),
            api_server: None,
            workload_identity_provider_arn: None,
            visibility: None,
            api_visibility: Visibility::AtOnce,
            signatures: None,
            node_keys: BTreeMap::new(),
            cluster_limit: None,
            node_limit: None,
            defaults: EksAuthDefaults::default(),
            agenda: Agenda::default(),
            hosting: HostingOptions::default(),
        }
    }
}
