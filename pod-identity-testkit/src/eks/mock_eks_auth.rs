use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pod_identity_core::Secret;

use crate::eks::service::EksAuthService;
use crate::fault::mock_server::MockServer;
use crate::http::host::Host;
use crate::http::recorder::{Counts, Recorder};
use crate::{
    Association, Blocking, Fault, Gate, Issuer, MockEksAuthBuilder, Operation, OperationFaults,
    RecordedRequest, Role, Session, Visibility, assert_no_secrets,
};

/// A mock of the AWS side of one cluster, on a loopback port over plain HTTP: EKS Auth and [what is
/// around it](Self#the-control-plane).
///
/// It verifies tokens and has associations, so a request fails where the real service refuses it;
/// [faults](Self#faults) cause other failures. Requests are recorded. [`SignatureCheck`](crate::SignatureCheck)
/// sets how far it verifies SigV4.
///
/// It serves on a thread of its own, so that it answers while the test blocks; for virtual time see
/// [`in_this_runtime`](MockEksAuthBuilder::in_this_runtime). Dropping it closes the listener and every
/// connection.
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
/// # The control plane
/// | at the same endpoint | |
/// |---|---|
/// | EKS | the associations API with its tags: `aws eks … --endpoint-url` and boto3 drive it unchanged |
/// | STS | `GetCallerIdentity` for minted credentials |
/// | the issuer | `/.well-known/openid-configuration` and `/keys` |
///
/// Associations are created by the test ([`associate`](Self::associate), [`add`](Self::add)) or through the
/// API, whose changes can become visible later ([`Visibility`]). Until the first [`Role`] is added, every role
/// exists and trusts every principal. A session can be [read back](Self::session) with its tags.
///
/// # Faults
/// They work as [those of the agent](crate::MockAgent#faults). [`inject`](Self::inject) applies to
/// requests to EKS Auth; [`on`](Self::on) has the same methods for any other operation, with the
/// [errors](crate::ApiError) of the control plane. Each operation has a queue of its own.
#[derive(Debug)]
pub struct MockEksAuth {
    pub(crate) server: Arc<MockServer<EksAuthService>>,
    wait_limit: Duration,
    /// The last field, so that it ends after what it serves.
    host: Host,
}

impl MockEksAuth {
    /// Starts a mock with the defaults of [`builder`](Self::builder).
    ///
    /// # Panics
    /// Panics if there is no free loopback port.
    pub async fn start() -> Self {
        Self::builder()
            .start()
            .await
            .expect("a loopback port must be free")
    }

    /// Starts a mock with the defaults, for tests without a runtime.
    ///
    /// # Panics
    /// Panics if there is no free loopback port or no thread.
    pub fn start_blocking() -> Blocking<Self> {
        Self::builder()
            .start_blocking()
            .expect("a loopback port must be free")
    }

    /// Returns a builder for a mock.
    pub fn builder() -> MockEksAuthBuilder {
        MockEksAuthBuilder::default()
    }

    /// Returns `http://127.0.0.1:{port}`, without a trailing slash. A restart does not change it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.reachable())
    }

    /// Returns the address that the mock listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.service().cluster.name
    }

    /// Returns the region of the cluster.
    pub fn region(&self) -> &str {
        &self.service().cluster.region
    }

    /// Returns the issuer whose tokens are accepted.
    pub fn issuer(&self) -> &Issuer {
        &self.service().cluster.issuer
    }

    /// Closes the listener and every connection, and returns when that is done: from now on
    /// connections are refused. Associations, faults and recorded requests are kept.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again on the same port. Does nothing if the mock is listening.
    ///
    /// # Errors
    /// Fails if another process has taken the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// Associates a service account with a role and returns the association's id. Replaces an earlier
    /// association of the same service account.
    pub fn associate(
        &self,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
        role_arn: impl Into<String>,
    ) -> String {
        self.add(Association::new(namespace, service_account, role_arn))
    }

    /// Adds an association as [`associate`](Self::associate) does, with all its settings. They are not
    /// checked, and the association is visible at once.
    pub fn add(&self, association: Association) -> String {
        let service = self.service();
        let now = service.clock.now();
        service.cluster.associations.put(association, now)
    }

    /// Removes an association by its id. Returns whether there was one.
    pub fn dissociate(&self, association_id: &str) -> bool {
        self.service().cluster.associations.remove(association_id)
    }

    /// Adds a role, or changes its trust policy. Once there is one, roles that were not added do not exist.
    pub fn put_role(&self, role: Role) {
        self.service().cluster.roles.put(role);
    }

    /// Sets when EKS Auth sees the changes that the associations API makes from now on.
    pub fn set_visibility(&self, visibility: impl Into<Visibility>) {
        let associations = &self.service().cluster.associations;
        associations.set_visibility(visibility.into());
    }

    /// Sets when the associations API sees the changes that are made through it from now on. See
    /// [`MockEksAuthBuilder::api_visibility`].
    pub fn set_api_visibility(&self, visibility: impl Into<Visibility>) {
        let associations = &self.service().cluster.associations;
        associations.set_api_visibility(visibility.into());
    }

    /// Sets whether the issuer's documents are answered with 503.
    pub fn set_issuer_outage(&self, is_down: bool) {
        let switch = &self.service().issuer_is_down;
        switch.store(is_down, Ordering::Relaxed);
    }

    /// Returns the session of minted credentials.
    pub fn session(&self, access_key_id: &str) -> Option<Session> {
        let minted = self.service().keys.sessions.get(access_key_id)?;
        Some(minted.session)
    }

    /// Returns the faults of one operation. See [Faults](Self#faults).
    pub fn on(&self, operation: Operation) -> OperationFaults<'_> {
        OperationFaults::new(&self.server, operation)
    }

    /// Injects a fault, by default for the next request to EKS Auth. See [Faults](Self#faults).
    ///
    /// # Panics
    /// Panics if members of the fault exclude each other, or if the mock does not have the fault.
    #[track_caller]
    pub fn inject(&self, fault: impl Into<Fault>) {
        self.server.inject_now(fault.into());
    }

    /// Injects a fault for the next `count` requests to EKS Auth.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_next(&self, count: usize, fault: impl Into<Fault>) {
        self.inject(fault.into().times(count));
    }

    /// Injects a fault for every request to EKS Auth, until the faults are cleared.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_always(&self, fault: impl Into<Fault>) {
        self.inject(fault.into().always());
    }

    /// Holds every request to EKS Auth before its answer until the gate is released.
    pub fn gate(&self) -> Gate {
        self.on(Operation::AssumeRoleForPodIdentity).gate()
    }

    /// Returns the gate of this name of the [scenario](MockEksAuthBuilder::scenario), if it has not been
    /// released, or else a new one.
    pub fn named_gate(&self, name: &str) -> Gate {
        self.server.named_gate(name)
    }

    /// Removes every fault of every operation. Requests that are held continue.
    pub fn clear_faults(&self) {
        self.service().faults.clear();
    }

    /// Applies what the timeline of the [scenario](MockEksAuthBuilder::scenario) has up to now by the
    /// mock's clock. Without this call it is applied within a second.
    ///
    /// # Errors
    /// Fails if another process has taken the port meanwhile. It is retried every second, and later events
    /// wait for it.
    pub async fn catch_up(&self) -> io::Result<()> {
        self.server.catch_up().await
    }

    /// Returns every request whose body has been read, in the order of arrival; those to the control plane too,
    /// as [`operation`](RecordedRequest::operation) tells.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.recorder().requests()
    }

    /// Returns the number of requests that have arrived.
    pub fn request_count(&self) -> usize {
        self.recorder().counts().requests
    }

    /// Returns the number of connections that have been accepted.
    pub fn connection_count(&self) -> u64 {
        self.recorder().counts().connections
    }

    /// Returns the number of requests that wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.recorder().counts().in_flight
    }

    /// Returns the largest number of requests that have waited for their answer at the same time.
    pub fn max_in_flight(&self) -> usize {
        self.recorder().counts().max_in_flight
    }

    /// Returns every access key id that has been minted, in order. It need not have reached the client.
    pub fn minted(&self) -> Vec<String> {
        self.recorder().access_keys()
    }

    /// Returns every token received and every secret key and session token minted.
    pub fn secrets(&self) -> Vec<Secret> {
        self.recorder().secrets()
    }

    /// Calls [`assert_no_secrets`] with all [`secrets`](Self::secrets).
    ///
    /// # Panics
    /// Panics if the text contains one.
    #[track_caller]
    pub fn assert_no_secrets(&self, text: &str) {
        let secrets = self.secrets();
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_no_secrets(text, &secrets);
    }

    /// Waits until `count` requests have arrived since the start.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockEksAuthBuilder::wait_limit).
    pub async fn wait_for_requests(&self, count: usize) {
        let enough = |counts: &Counts| counts.requests >= count;
        self.wait(&format!("{count} requests"), enough).await;
    }

    /// Waits until `count` requests have been answered since the start.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockEksAuthBuilder::wait_limit).
    pub async fn wait_for_answers(&self, count: usize) {
        let enough = |counts: &Counts| counts.answers >= count;
        self.wait(&format!("{count} answers"), enough).await;
    }

    /// Waits until no request is in flight: all are answered, or their clients have disconnected.
    ///
    /// # Panics
    /// Panics with the recorded requests after the [limit](MockEksAuthBuilder::wait_limit).
    pub async fn wait_until_idle(&self) {
        let enough = |counts: &Counts| counts.in_flight == 0;
        self.wait("no request to be in flight", enough).await;
    }

    pub(crate) fn new(
        server: Arc<MockServer<EksAuthService>>,
        host: Host,
        wait_limit: Duration,
    ) -> Self {
        Self {
            server,
            wait_limit,
            host,
        }
    }

    async fn wait(&self, what: &str, enough: impl FnMut(&Counts) -> bool) {
        let seen = self.recorder().wait_until(enough);
        if self.host.within(self.wait_limit, seen).await.is_none() {
            let (limit, counts) = (self.wait_limit, self.recorder().counts());
            let requests: Vec<String> = self.requests().iter().map(ToString::to_string).collect();
            panic!(
                "mock of EKS Auth at {}: waited {limit:?} for {what}, saw {counts}\n{}",
                self.address(),
                requests.join("\n")
            );
        }
    }

    pub(crate) fn service(&self) -> &Arc<EksAuthService> {
        self.server.service()
    }

    fn recorder(&self) -> &Recorder<RecordedRequest> {
        &self.service().recorder
    }
}
