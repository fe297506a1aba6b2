use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pod_identity_core::{Clock, Secret, SystemClock};
use tokio::net::TcpListener;

use crate::association::Associations;
use crate::cluster::Cluster;
use crate::eks_auth_service::EksAuthService;
use crate::faults::Faults;
use crate::recorder::Recorder;
use crate::server::Server;
use crate::{Association, Fault, Gate, Issuer, RecordedRequest, When, assert_no_secrets};

/// A mock of EKS Auth for one cluster, on a loopback port: `AssumeRoleForPodIdentity` over plain HTTP.
///
/// It verifies tokens and knows associations, so a scenario fails where the real service would make
/// it fail; [faults](Self#faults) do the rest. What arrives is recorded. It does not verify SigV4:
/// only that there is such a signature.
///
/// Dropping it closes the listener and every connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_core::wire::eks_auth::ErrorCode;
/// use pod_identity_testkit::MockEksAuth;
///
/// let eks = MockEksAuth::start().await;
/// eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
/// eks.inject(ErrorCode::Throttling);
/// // … give `eks.endpoint()` and `eks.cluster()` to what is tested, and a token of `eks.issuer()` …
/// assert!(eks.endpoint().starts_with("http://127.0.0.1:"));
/// assert_eq!(eks.request_count(), 0);
/// # }
/// ```
///
/// # Faults
/// [`inject`](Self::inject) and [`inject_next`](Self::inject_next) queue a fault for the next
/// requests, [`inject_always`](Self::inject_always) puts up one for all. A request goes through the
/// queue from its head and takes the first fault of each kind, up to the first that answers. Then come
/// the standing ones: of a kind that it has not taken, and answering only if none of the queue does.
///
/// So a latency and then an error, queued together, are one slow error; two queued errors are two
/// requests' errors; a standing latency slows queued errors down too.
#[derive(Debug)]
pub struct MockEksAuth {
    server: Server<EksAuthService>,
}

impl MockEksAuth {
    /// A mock with every default of [`builder`](Self::builder).
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a loopback port must be free")
    }

    /// A mock to be set up before it starts.
    pub fn builder() -> MockEksAuthBuilder {
        MockEksAuthBuilder::default()
    }

    /// `http://127.0.0.1:{port}`, without a slash at the end. It stays the same over a restart.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The name of the one cluster.
    pub fn cluster(&self) -> &str {
        &self.service().cluster.name
    }

    /// The region of the cluster.
    pub fn region(&self) -> &str {
        &self.service().cluster.region
    }

    /// The issuer whose tokens are accepted.
    pub fn issuer(&self) -> &Issuer {
        &self.service().cluster.issuer
    }

    /// Closes the listener and every connection, and returns when that is done: from now on
    /// connections are refused. What it knows and has recorded stays.
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

    /// Associates a service account with a role and returns the association's id. An earlier
    /// association of the same service account goes.
    pub fn associate(
        &self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
        role_arn: impl Into<String>,
    ) -> String {
        self.add(Association::new(namespace, service_account, role_arn))
    }

    /// As [`associate`](Self::associate), for an association with a target role or another lifetime.
    pub fn add(&self, association: Association) -> String {
        self.service().cluster.associations.put(association)
    }

    /// Removes an association by its id; whether there was one.
    pub fn dissociate(&self, association_id: &str) -> bool {
        self.service().cluster.associations.remove(association_id)
    }

    /// Queues a fault for one request. See [Faults](Self#faults).
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.inject_next(1, fault);
    }

    /// Queues a fault for so many requests.
    pub fn inject_next(&self, count: usize, fault: impl Into<Fault>) {
        self.inject_when(When::next(count), fault);
    }

    /// Puts up a fault for every request, until the faults are cleared.
    pub fn inject_always(&self, fault: impl Into<Fault>) {
        self.inject_when(When::always(), fault);
    }

    /// Injects a fault for the requests that [`When`] says.
    pub fn inject_when(&self, when: When, fault: impl Into<Fault>) {
        let service = self.service();
        service.faults.push(when, fault.into(), service.clock.now());
    }

    /// Puts up a gate for every request, until it is released.
    pub fn gate(&self) -> Gate {
        let gate = Gate::new();
        self.inject_always(Fault::Gate(gate.clone()));
        gate
    }

    /// Forgets every fault. Requests that hang, wait at a gate or for a latency go on.
    pub fn clear_faults(&self) {
        self.service().faults.clear();
    }

    /// Every request whose body has been read, in the order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.recorder().requests()
    }

    /// How many requests have arrived.
    pub fn request_count(&self) -> usize {
        self.recorder().counts().requests
    }

    /// How many connections have been accepted.
    pub fn connection_count(&self) -> u64 {
        self.recorder().counts().connections
    }

    /// How many requests are waiting for their answer.
    pub fn in_flight(&self) -> usize {
        self.recorder().counts().in_flight
    }

    /// How many requests have waited for their answer at the same time, at most.
    pub fn max_in_flight(&self) -> usize {
        self.recorder().counts().max_in_flight
    }

    /// Every access key id that has been minted, in that order. It need not have reached the client.
    pub fn minted(&self) -> Vec<String> {
        self.recorder().access_keys()
    }

    /// Every token received and every secret key and session token minted.
    pub fn secrets(&self) -> Vec<Secret> {
        self.recorder().secrets()
    }

    /// [`assert_no_secrets`] for all of [`secrets`](Self::secrets).
    ///
    /// # Panics
    /// When there is one in the text.
    #[track_caller]
    pub fn assert_no_secrets(&self, text: &str) {
        let secrets = self.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_no_secrets(text, &secrets);
    }

    /// Waits until so many requests have arrived since the start.
    pub async fn wait_for_requests(&self, count: usize) {
        self.recorder()
            .wait_until(|counts| counts.requests >= count)
            .await;
    }

    /// Waits until so many requests have been answered since the start.
    pub async fn wait_for_answers(&self, count: usize) {
        self.recorder()
            .wait_until(|counts| counts.answers >= count)
            .await;
    }

    /// Waits until no request waits for its answer: all are answered, or their clients have left.
    pub async fn wait_until_idle(&self) {
        self.recorder()
            .wait_until(|counts| counts.in_flight == 0)
            .await;
    }

    pub(crate) fn service(&self) -> &Arc<EksAuthService> {
        self.server.service()
    }

    fn recorder(&self) -> &Recorder<RecordedRequest> {
        &self.service().recorder
    }
}

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
    cluster: String,
    region: String,
    account: String,
    issuer: Option<Issuer>,
    clock: Arc<dyn Clock>,
    listener: Option<TcpListener>,
}

impl MockEksAuthBuilder {
    /// The cluster's name; `test-cluster` by default.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The region; `us-west-2` by default.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The 12-digit account of the cluster, for the ARN of an association; `111122223333` by default.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// The issuer whose tokens are accepted; [`Issuer::for_region`] by default.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// What tokens and credentials expire by; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where it listens; an ephemeral port of 127.0.0.1 by default.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Starts the mock on the current tokio runtime, which must have I/O and time enabled.
    ///
    /// # Errors
    /// When no loopback port can be had.
    pub async fn start(self) -> io::Result<MockEksAuth> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let service = EksAuthService {
            cluster: Cluster {
                issuer: self
                    .issuer
                    .unwrap_or_else(|| Issuer::for_region(&self.region)),
                name: self.cluster,
                region: self.region,
                account: self.account,
                associations: Associations::default(),
            },
            clock: self.clock,
            faults: Faults::new(),
            recorder: Recorder::new(),
        };
        let server = Server::start(listener, Arc::new(service))?;
        Ok(MockEksAuth { server })
    }
}

impl Default for MockEksAuthBuilder {
    fn default() -> Self {
        Self {
            cluster: "test-cluster".to_owned(),
            region: "us-west-2".to_owned(),
            account: "111122223333".to_owned(),
            issuer: None,
            clock: Arc::new(SystemClock),
            listener: None,
        }
    }
}
