use std::sync::Arc;
use std::sync::atomic::Ordering;

use pod_identity_core::Secret;

use crate::eks::service::EksAuthService;
use crate::expect::expectation::Expectation;
use crate::mock::handle::Handle;
use crate::mock::hosting::Hosting;
use crate::mock::methods::{gate_method, mock_methods};
use crate::mock::mock_server::MockServer;
use crate::record::recorder::Recorder;
use crate::{
    Association, Blocking, Expectations, Issuer, MockEksAuthBuilder, Operation, OperationFaults,
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
/// ```no_run
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
    pub(crate) handle: Handle<EksAuthService>,
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
    /// Panics if there is no free loopback port or no thread. Panics within a runtime: use [`start`](Self::start) there.
    #[track_caller]
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
        format!("http://{}", self.handle.server.reachable())
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

    /// The faults of one operation. See [Faults](Self#faults).
    pub fn on(&self, operation: Operation) -> OperationFaults<'_> {
        OperationFaults::new(&self.handle.server, operation)
    }

    /// Every access key id that has been minted, in that order. It need not have reached the client.
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

    pub(crate) fn new(
        server: Arc<MockServer<EksAuthService>>,
        expectations: Vec<Expectation<RecordedRequest>>,
        hosting: Hosting,
    ) -> Self {
        Self {
            handle: Handle::new(server, expectations, hosting),
        }
    }

    /// What is to be true of the requests to EKS Auth when the mock is dropped, or [`verify`](Self::verify) is
    /// called. [`expect_on`](Self::expect_on) has the same for another operation.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use pod_identity_testkit::{MockEksAuth, Operation};
    ///
    /// let eks = MockEksAuth::start().await;
    /// eks.expect().at_most(3).single_flight().optional();
    /// eks.expect_on(Operation::CreatePodIdentityAssociation).times(0);
    /// // … run what is tested …
    /// eks.verify();
    /// # }
    /// ```
    pub fn expect(&self) -> Expectations<'_, RecordedRequest> {
        self.expect_on(Operation::AssumeRoleForPodIdentity)
    }

    /// Adds expectations of the requests to one operation. See [`expect`](Self::expect).
    pub fn expect_on(&self, operation: Operation) -> Expectations<'_, RecordedRequest> {
        Expectations::on(&self.handle.expectations, operation)
    }

    pub(crate) fn service(&self) -> &Arc<EksAuthService> {
        self.handle.service()
    }

    fn recorder(&self) -> &Recorder<RecordedRequest> {
        self.handle.recorder()
    }
}

gate_method!(MockEksAuth);
mock_methods!(MockEksAuth, MockEksAuthBuilder, RecordedRequest);
