use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_eksauth::Client;
use aws_sdk_eksauth::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_eksauth::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eksauth::operation::RequestId;
use aws_sdk_eksauth::operation::assume_role_for_pod_identity::{
    AssumeRoleForPodIdentityError, AssumeRoleForPodIdentityOutput,
};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http::Uri;
use http::header::RETRY_AFTER;
use http::uri::Scheme;
use hyper_util::client::proxy::matcher::Matcher;
use pod_identity_cli::without_user_info;
use pod_identity_core::wire::eks_auth::ErrorBody;
use pod_identity_core::{
    Credentials, Failure, FailureClass, Secret, Timestamp, with_causes, without_long_words,
};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::NodeIdentity;
use crate::eks_auth::clock_skew::{ClockSkew, Missigned};
use crate::eks_auth::eks_endpoint::endpoint_of_eks;
use crate::eks_auth::exchange::{Checking, EksAuth, EksAuthError, Exchange, Session};
use crate::eks_auth::node_identity::{Metadata, NodeDiscovery};
use crate::eks_auth::own_credentials::Identity;
use crate::eks_auth::unavailable::Unavailable;
use crate::eks_auth::{http_clients, own_credentials};
use crate::telemetry::printable::{LONGEST_WORD, excerpt};

/// EKS Auth through the official client: endpoints of every partition, SigV4, the agent's own
/// credentials.
///
/// The agent's own credentials come from the environment, the shared files, web identity or instance
/// metadata, in this order, and never from a container provider: that would be the agent itself.
///
/// Region, credentials and endpoint are determined by the first exchange or check, so that listeners need
/// not wait for instance metadata. The client does not retry: the agent decides when to try again.
///
/// ```no_run
/// use pod_identity_agent::SdkEksAuth;
///
/// let eks_auth = SdkEksAuth::new("my-cluster").with_endpoint("http://127.0.0.1:8080");
/// ```
pub struct SdkEksAuth {
    cluster: String,
    endpoint: Option<String>,
    rotate_credentials: bool,
    ca_bundle: Option<PathBuf>,
    node: NodeIdentity,
    discover_node: bool,
    clock_skew: Arc<ClockSkew>,
    /// Made once, while the rest may be tried again and again.
    connector: OnceCell<SharedHttpConnector>,
    connected: OnceCell<Connected>,
}

struct Connected {
    client: Client,
    node: NodeDiscovery,
    /// What [`EksAuth::check`] checks; unknown for a client that the caller provides.
    route: Option<Route>,
}

/// Region, own credentials and endpoint.
pub(crate) struct Route {
    identity: Identity,
    endpoint: Uri,
    /// The URL of EKS, if it is known.
    eks: Option<String>,
}

impl Route {
    pub(crate) fn region(&self) -> &str {
        self.identity.region.as_ref()
    }

    pub(crate) fn eks(&self) -> Option<&str> {
        self.eks.as_deref()
    }

    /// The agent's own credentials.
    pub(crate) fn credentials(&self) -> &SharedCredentialsProvider {
        &self.identity.credentials
    }

    /// # Errors
    /// Fails if no source has credentials.
    pub(crate) async fn load_credentials(&self) -> Result<(), Unavailable> {
        let loaded = self.identity.credentials.provide_credentials().await;
        loaded.map(drop).map_err(Unavailable::no_credentials)
    }

    /// Where a connection goes to.
    pub(crate) fn way(&self) -> Way {
        self.way_by(&Matcher::from_env())
    }

    fn way_by(&self, proxies: &Matcher) -> Way {
        let proxy = proxies.intercept(&self.endpoint);
        let uri = proxy.as_ref().map_or(&self.endpoint, |proxy| proxy.uri());
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let default_port = if uri.scheme() == Some(&Scheme::HTTP) {
            80
        } else {
            443
        };
        Way {
            service: self.endpoint.host().unwrap_or_default().to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            is_proxy: proxy.is_some(),
        }
    }
}

/// The host that a connection to EKS Auth goes to: its own, or that of a proxy.
pub(crate) struct Way {
    /// The host of EKS Auth.
    pub(crate) service: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_proxy: bool,
}

impl Way {
    /// Connects, and returns the address that answered.
    ///
    /// # Errors
    /// Fails with the reason of the last address.
    pub(crate) async fn connect(&self) -> Result<SocketAddr, Unavailable> {
        let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
        connected
            .and_then(|stream| stream.peer_addr())
            .map_err(|error| Unavailable::Connect {
                address: format!("{}:{}", self.host, self.port),
                source: Arc::new(error),
            })
    }
}

impl SdkEksAuth {
    /// Returns an EKS Auth for the cluster of this name. Everything else comes from the environment.
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            endpoint: None,
            rotate_credentials: false,
            ca_bundle: None,
            node: NodeIdentity::default(),
            discover_node: false,
            clock_skew: Arc::default(),
            connector: OnceCell::new(),
            connected: OnceCell::new(),
        }
    }

    /// Sets the URL of the endpoint, instead of the region's.
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets whether the shared credentials file is read again every minute, for hybrid nodes, where another
    /// process renews it; off by default.
    pub fn with_rotated_credentials(mut self, rotate: bool) -> Self {
        self.rotate_credentials = rotate;
        self
    }

    /// Sets a PEM file with the only roots to trust, as `AWS_CA_BUNDLE` names it for the AWS CLI; the
    /// system's by default. It is read at the first exchange.
    pub fn with_ca_bundle(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_bundle = Some(path.into());
        self
    }

    /// Sets the details of the node that are sent to EKS Auth. Defaults to none.
    pub fn with_node(mut self, node: NodeIdentity) -> Self {
        self.node = node;
        self
    }

    /// Sets whether the instance id and the zone come from instance metadata, unless
    /// [`with_node`](Self::with_node) sets them. Defaults to no.
    pub fn with_discovered_node(mut self, discover: bool) -> Self {
        self.discover_node = discover;
        self
    }

    /// Sets a client, which is used unchanged: it should not retry, and it must not take credentials from a
    /// container provider. [`check`](EksAuth::check) then always succeeds, and the details of the node are
    /// those set before.
    pub fn with_client(mut self, client: Client) -> Self {
        let node = NodeDiscovery::new(self.node.clone(), None);
        let route = None;
        self.connected = OnceCell::new_with(Some(Connected {
            client,
            node,
            route,
        }));
        self
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn ca_bundle(&self) -> Option<&Path> {
        self.ca_bundle.as_deref()
    }

    pub(crate) fn clock_skew(&self) -> &Arc<ClockSkew> {
        &self.clock_skew
    }

    async fn exchange(&self, token: &Secret) -> Result<Session, Failure<EksAuthError>> {
        let connected = self.connected().await?;
        let mut sent = self.send(connected, token).await;
        if sent.as_ref().is_err_and(is_missigned) {
            // The SDK has measured the clock skew by this answer, and corrects signatures from now on.
            sent = self.send(connected, token).await;
        }
        match sent {
            Ok(output) => session(&output).map_err(|reason| {
                Failure::new(FailureClass::Malformed, EksAuthError::Malformed(reason))
            }),
            Err(error) => Err(failure(error, token)),
        }
    }

    async fn send(
        &self,
        connected: &Connected,
        token: &Secret,
    ) -> Result<AssumeRoleForPodIdentityOutput, AssumeRoleError> {
        let node = connected.node.node().await;
        connected
            .client
            .assume_role_for_pod_identity()
            .cluster_name(&self.cluster)
            .token(token.expose())
            .set_eks_node_name(node.name)
            .set_instance_id(node.instance_id)
            .set_zone(node.zone)
            .send()
            .await
    }

    /// Loads the agent's own credentials, and connects to EKS Auth or to the proxy before it.
    async fn check_route(&self) -> Result<(), Unavailable> {
        let Some(route) = &self.connected().await?.route else {
            return Ok(());
        };
        route.load_credentials().await?;
        route.way().connect().await.map(drop)
    }

    /// What an exchange goes through.
    ///
    /// # Errors
    /// Fails if region or endpoint are not known.
    pub(crate) async fn route(&self) -> Result<Option<&Route>, Unavailable> {
        Ok(self.connected().await?.route.as_ref())
    }

    /// A failure is not cached: the next call tries again.
    async fn connected(&self) -> Result<&Connected, Unavailable> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    /// What EKS Auth, EKS and STS are called through, for the life of the process. A failure is not cached.
    pub(crate) async fn connector(&self) -> Result<&SharedHttpConnector, Unavailable> {
        let make =
            async || http_clients::aws_connector(self.ca_bundle.as_deref(), &self.clock_skew);
        self.connector.get_or_try_init(make).await
    }

    async fn connect(&self) -> Result<Connected, Unavailable> {
        let aws_client = http_clients::client_of(self.connector().await?.clone());
        own_credentials::check_shared_files().await?;
        let identity = Identity::find(&aws_client, self.rotate_credentials).await?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .http_client(aws_client)
            .region(identity.region.clone())
            .credentials_provider(identity.credentials.clone());
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        let endpoint = endpoint(&config).await?;
        let of_all_services = match self.endpoint {
            Some(_) => None,
            None => config.endpoint_url(),
        };
        let eks = endpoint_of_eks(&config, of_all_services).await;
        let metadata = self.discover_node.then(own_credentials::imds);
        let metadata = metadata.map(|imds| Box::new(imds) as Box<dyn Metadata>);
        let node = NodeDiscovery::new(self.node.clone(), metadata);
        Ok(Connected {
            client: Client::new(&config),
            node,
            route: Some(Route {
                identity,
                endpoint,
                eks,
            }),
        })
    }
}

/// Returns the override, or else the endpoint of the service's rules for the region.
async fn endpoint(config: &SdkConfig) -> Result<Uri, Unavailable> {
    let no_endpoint = |reason: String| Unavailable::NoEndpoint {
        source: Arc::from(Box::<dyn Error + Send + Sync>::from(reason)),
    };
    let of_service = aws_sdk_eksauth::Config::from(config);
    let override_url = config.endpoint_url().map(str::to_owned);
    let params = Params::builder()
        .set_region(of_service.region().map(ToString::to_string))
        .set_use_fips(config.use_fips())
        .set_endpoint(override_url)
        .build()
        .map_err(|error| no_endpoint(error.to_string()))?;
    let resolved = DefaultResolver::new().resolve_endpoint(&params).await;
    let url = resolved.map_err(|error| no_endpoint(with_causes(&*error)))?;
    url.url()
        .parse()
        // It is not quoted, because there may be a password in it.
        .map_err(|_invalid| no_endpoint("what is configured for it is not a URL".to_owned()))
}

impl EksAuth for SdkEksAuth {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        Box::pin(self.exchange(token))
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.check_route())
    }

    fn clock_skew_seconds(&self) -> f64 {
        self.clock_skew.seconds()
    }
}

impl fmt::Debug for SdkEksAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkEksAuth")
            .field("cluster", &self.cluster)
            .field("endpoint", &self.endpoint.as_deref().map(without_user_info))
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Returns the content of a success. Every member must be present: in the client, a missing one is an empty
/// string or `None`.
fn session(output: &AssumeRoleForPodIdentityOutput) -> Result<Session, String> {
    let missing = |what: &str| format!("{what} is missing");
    let text = |value: &str, what: &str| match value {
        "" => Err(missing(what)),
        value => Ok(value.to_owned()),
    };
    let credentials = output.credentials().ok_or_else(|| missing("credentials"))?;
    let user = output
        .assumed_role_user()
        .ok_or_else(|| missing("assumedRoleUser"))?;
    let association = output
        .pod_identity_association()
        .ok_or_else(|| missing("podIdentityAssociation"))?;
    let subject = output.subject().ok_or_else(|| missing("subject"))?;
    let namespace = text(subject.namespace(), "subject.namespace")?;
    let service_account = text(subject.service_account(), "subject.serviceAccount")?;
    let assumed_role_arn = text(user.arn(), "assumedRoleUser.arn")?;
    let expiration = credentials.expiration();
    let expiration = Timestamp::from_unix_millis(
        expiration.secs().saturating_mul(1000) + i64::from(expiration.subsec_nanos() / 1_000_000),
    );
    if expiration <= Timestamp::from_unix_secs(0) {
        return Err(missing("credentials.expiration"));
    }
    let mut checked = Credentials::new(
        text(credentials.access_key_id(), "credentials.accessKeyId")?,
        text(
            credentials.secret_access_key(),
            "credentials.secretAccessKey",
        )?
        .into(),
        text(credentials.session_token(), "credentials.sessionToken")?.into(),
        expiration,
    );
    if let Some(account) = account_of(&assumed_role_arn) {
        checked = checked.with_account_id(account);
    }
    Ok(Session {
        association_id: text(
            association.association_id(),
            "podIdentityAssociation.associationId",
        )?,
        assumed_role_arn,
        request_id: output.request_id().map(str::to_owned),
        ..Session::new(checked, namespace, service_account)
    })
}

/// The account in `arn:aws:sts::{account}:assumed-role/{role}/{session}`.
fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

type AssumeRoleError = SdkError<AssumeRoleForPodIdentityError, HttpResponse>;

/// Returns whether EKS Auth refused a request because the clock that signed it is minutes off. A service that
/// throttles or fails is not called again at once, even if the clocks differ.
fn is_missigned(error: &AssumeRoleError) -> bool {
    error.raw_response().is_some_and(|response| {
        let status = response.status();
        status.is_client_error()
            && status.as_u16() != 429
            && response.extension::<Missigned>().is_some()
    })
}

fn failure(error: AssumeRoleError, token: &Secret) -> Failure<EksAuthError> {
    let Some(response) = error.raw_response() else {
        return match credentials_error(&error).map(Unavailable::summary) {
            Some(summary) => Unavailable::NoCredentials {
                summary,
                source: Arc::new(error),
            }
            .into(),
            None => Unavailable::Transport {
                reason: printable(&with_causes(&error), token),
            }
            .into(),
        };
    };
    let status = response.status().as_u16();
    if response.status().is_success() {
        if response.body().bytes().is_none() {
            // The SDK has not read it to its end.
            return Unavailable::Transport {
                reason: "the answer broke off".to_owned(),
            }
            .into();
        }
        let error = EksAuthError::Malformed("the body is not the expected JSON object".to_owned());
        return Failure::new(FailureClass::Malformed, error);
    }
    let number = |name| response.headers().get(name)?.trim().parse().ok();
    // What is in front of EKS Auth knows only the header of HTTP.
    let retry_after = number(ErrorBody::RETRY_AFTER_HEADER)
        .map(Duration::from_millis)
        .or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs));
    let Some(code) = error.code() else {
        // A proxy may repeat the request, which has the agent's own session token in a header.
        let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
        let body = without_long_words(&body.replace(token.expose(), "<token>"), LONGEST_WORD);
        let error = EksAuthError::Unreachable(Unavailable::NotEksAuth {
            status,
            excerpt: printable(&body, token),
        });
        // Whoever says so, calling less often is what helps.
        let class = match FailureClass::of(status, None) {
            FailureClass::Throttled => FailureClass::Throttled,
            _ => FailureClass::Transient,
        };
        return Failure::new(class, error).with_retry_after(retry_after);
    };
    let refused = EksAuthError::Refused {
        status,
        message: printable(error.message().unwrap_or_default(), token),
        request_id: error.request_id().map(|id| printable(id, token)),
        code: printable(code, token),
    };
    Failure::new(FailureClass::of(status, Some(code)), refused).with_retry_after(retry_after)
}

/// The failure of the agent's own credentials, if that is the cause.
fn credentials_error(error: &AssumeRoleError) -> Option<&CredentialsError> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// Returns text of the service fit for a log and for a pod: one line, bounded, with the token replaced. A service that
/// calculates another signature quotes the headers that it calculates it from, which are those with the agent's own
/// session token: `excerpt` leaves it out.
fn printable(text: &str, token: &Secret) -> String {
    excerpt(&text.replace(token.expose(), "<token>"), MAX_EXCERPT)
}

/// In characters.
const MAX_EXCERPT: usize = 512;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use aws_config::Region;
    use aws_credential_types::Credentials as OwnCredentials;
    use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::DateTime;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::date_time::Format;
    use pod_identity_core::{Clock, SystemClock};

    use super::*;
    use crate::eks_auth::connector::GuardedConnector;

    #[test]
    fn the_account_is_taken_from_the_assumed_role() {
        let arn = "arn:aws:sts::123456789012:assumed-role/app/eks-c-p-1";
        assert_eq!(account_of(arn), Some("123456789012"));
        assert_eq!(account_of("arn:aws:sts:::assumed-role/app"), None);
        assert_eq!(account_of("nonsense"), None);
    }

    async fn host(
        region: &'static str,
        fips: bool,
        url: Option<&str>,
    ) -> Result<String, Unavailable> {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .use_fips(fips);
        config.set_endpoint_url(url.map(str::to_owned));
        endpoint(&config.build()).await.map(|uri| uri.to_string())
    }

    /// Dual-stack hosts, as the service's endpoint rules have them.
    #[tokio::test]
    async fn eks_auth_is_found_in_every_partition() {
        for (region, suffix) in [
            ("us-west-2", "api.aws"),
            ("us-gov-west-1", "api.aws"),
            ("cn-north-1", "api.amazonwebservices.com.cn"),
            ("us-iso-east-1", "api.aws.ic.gov"),
            ("us-isob-east-1", "api.aws.scloud"),
            ("eu-isoe-west-1", "api.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "api.aws.hci.ic.gov"),
            ("eusc-de-east-1", "api.amazonwebservices.eu"),
        ] {
            let plain = host(region, false, None).await.unwrap();
            assert_eq!(plain, format!("https://eks-auth.{region}.{suffix}/"));
            let fips = host(region, true, None).await.unwrap();
            assert_eq!(fips, format!("https://eks-auth-fips.{region}.{suffix}/"));
        }
        let own = host("us-west-2", true, Some("http://127.0.0.1:8080")).await;
        let message = own.unwrap_err().to_string();
        assert!(message.contains("FIPS"), "{message}");
    }

    #[test]
    fn a_message_is_one_bounded_line_without_the_token() {
        let token = Secret::from("a.b.c".to_owned());
        assert_eq!(printable("bad a.b.c\r\nnext", &token), "bad <token>  next");
        assert_eq!(printable(&"x ".repeat(9999), &token).len(), MAX_EXCERPT);
    }

    #[test]
    fn a_message_names_roles_and_does_not_quote_the_agents_own_session_token() {
        let token = Secret::from("a.b.c".to_owned());
        let role = format!("{}/{}", "r".repeat(64), "s".repeat(64));
        let message = format!("User: arn:aws:sts::111122223333:assumed-role/{role} is not allowed");
        assert_eq!(printable(&message, &token), message);
        let own = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCX".repeat(10);
        let message = format!("should have been\n'host:eks-auth\nx-amz-security-token:{own}\n");
        let shown = "should have been 'host:eks-auth x-amz-security-token:<left out> ";
        assert_eq!(printable(&message, &token), shown);
    }

    /// Answers each request in the same way.
    #[derive(Debug, Clone, Default)]
    struct Answering {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: &'static str,
        /// The URLs that were asked for.
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl HttpConnector for Answering {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.asked.lock().unwrap().push(request.uri().to_owned());
            let status = self.status.try_into().unwrap();
            let mut response = HttpResponse::new(status, SdkBody::from(self.body));
            for (name, value) in &self.headers {
                response.headers_mut().insert(*name, value.clone());
            }
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    /// An instance without credentials.
    #[derive(Debug)]
    struct Without;

    impl ProvideCredentials for Without {
        fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
        where
            Self: 'a,
        {
            ProvideFuture::ready(Err(CredentialsError::not_loaded("there are none")))
        }
    }

    fn own_credentials() -> SharedCredentialsProvider {
        let own = OwnCredentials::new("AKIANODE", "secret", None, None, "test");
        SharedCredentialsProvider::new(own)
    }

    /// The real client of a service that answers so.
    fn eks_auth(answering: &Answering, own: SharedCredentialsProvider) -> SdkEksAuth {
        let eks_auth = SdkEksAuth::new("my-cluster");
        let connector = SharedHttpConnector::new(GuardedConnector {
            inner: SharedHttpConnector::new(answering.clone()),
            clock_skew: Arc::clone(eks_auth.clock_skew()),
        });
        let config = aws_sdk_eksauth::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .endpoint_url("http://eks-auth.test")
            .credentials_provider(own)
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_settings, _components| {
                connector.clone()
            }));
        eks_auth.with_client(Client::from_conf(config.build()))
    }

    /// An EKS Auth that has found its way.
    pub(crate) fn with_route(own: Option<()>, endpoint: &'static str) -> SdkEksAuth {
        let mut eks_auth = SdkEksAuth::new("my-cluster");
        let credentials = match own {
            Some(()) => own_credentials(),
            None => SharedCredentialsProvider::new(Without),
        };
        let config = aws_sdk_eksauth::Config::builder().behavior_version(BehaviorVersion::latest());
        eks_auth.connected = OnceCell::new_with(Some(Connected {
            client: Client::from_conf(config.build()),
            node: NodeDiscovery::new(NodeIdentity::default(), None),
            route: Some(Route {
                identity: Identity {
                    region: Region::new("us-west-2"),
                    credentials,
                },
                endpoint: Uri::from_static(endpoint),
                eks: Some("https://eks.us-west-2.amazonaws.com".to_owned()),
            }),
        }));
        eks_auth
    }

    const SUCCESS: &str = r#"{
        "subject": {"namespace": "shop", "serviceAccount": "cart"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {"associationArn": "arn:aws:eks:a", "associationId": "a-1"},
        "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/app/s", "assumeRoleId": "AROA:s"},
        "credentials": {"sessionToken": "t", "secretAccessKey": "s", "accessKeyId": "ASIA1", "expiration": 1772388000.25}
    }"#;

    async fn ask(eks_auth: &SdkEksAuth) -> Result<Session, EksAuthError> {
        let token = Secret::from("a.b.c".to_owned());
        let exchanged = eks_auth.assume_role(&token).await;
        exchanged.map_err(|failure| failure.error)
    }

    #[tokio::test]
    async fn each_member_of_a_success_is_read() {
        let answering = Answering {
            status: 200,
            headers: vec![("x-amzn-requestid", "r-1".to_owned())],
            body: SUCCESS,
            ..Answering::default()
        };
        let session = ask(&eks_auth(&answering, own_credentials())).await.unwrap();
        let asked = answering.asked.lock().unwrap().join(" ");
        assert!(asked.contains("/clusters/my-cluster/"), "{asked}");
        let expires = Timestamp::from_unix_millis(1_772_388_000_250);
        assert_eq!(session.credentials.expiration(), expires);
        assert_eq!(session.credentials.access_key_id(), "ASIA1");
        assert_eq!(session.credentials.account_id(), Some("123456789012"));
        assert_eq!(
            (
                &*session.namespace,
                &*session.service_account,
                &*session.association_id
            ),
            ("shop", "cart", "a-1")
        );
        let role = "arn:aws:sts::123456789012:assumed-role/app/s";
        assert_eq!(session.assumed_role_arn, role);
        assert_eq!(session.request_id.as_deref(), Some("r-1"));
    }

    #[tokio::test]
    async fn only_a_refusal_of_a_request_that_a_wrong_clock_has_signed_is_asked_again_at_once() {
        for (status, hours_off, asked) in [(403, 1, 2), (403, 0, 1), (429, 1, 1), (500, 1, 1)] {
            let date = SystemClock.now().as_unix_millis() / 1000 + 3600 * hours_off;
            let date = DateTime::from_secs(date).fmt(Format::HttpDate).unwrap();
            let answering = Answering {
                status,
                headers: vec![
                    ("x-amzn-requestid", "r-1".to_owned()),
                    ("x-amzn-errortype", "SomeException".to_owned()),
                    ("date", date),
                ],
                body: "{}",
                ..Answering::default()
            };
            let eks_auth = eks_auth(&answering, own_credentials());
            let error = ask(&eks_auth).await.unwrap_err();
            assert!(matches!(error, EksAuthError::Refused { .. }), "{error}");
            let times = answering.asked.lock().unwrap().len();
            assert_eq!(times, asked, "status {status}, {hours_off} h off");
            let behind = eks_auth.clock_skew_seconds() - 3600.0 * hours_off as f64;
            assert!(behind.abs() < 600.0, "{behind}");
        }
    }

    #[tokio::test]
    async fn whoever_throttles_is_called_less_often_and_not_before_it_says() {
        use FailureClass::{Throttled, Transient};
        const AWS: &str = "x-amz-retry-after";
        const HTTP: &str = "retry-after";
        let ms = |millis| Some(Duration::from_millis(millis));
        for (status, headers, class, retry_after) in [
            (429, vec![], Throttled, None),
            (429, vec![(HTTP, "2")], Throttled, ms(2000)),
            (503, vec![(HTTP, "2"), (AWS, "300")], Transient, ms(300)),
            (
                503,
                vec![(HTTP, "Wed, 21 Oct 2026 07:28:00 GMT")],
                Transient,
                None,
            ),
            (403, vec![], Transient, None),
        ] {
            let headers = headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()));
            let answering = Answering {
                status,
                headers: headers.collect(),
                body: "<html>slow down",
                ..Answering::default()
            };
            let eks_auth = eks_auth(&answering, own_credentials());
            let token = Secret::from("a.b.c".to_owned());
            let failure = eks_auth.assume_role(&token).await.unwrap_err();
            let seen = (failure.class, failure.retry_after);
            assert_eq!(seen, (class, retry_after), "{status}");
        }
    }

    #[tokio::test]
    async fn without_credentials_of_its_own_the_agent_says_so() {
        let none = || SharedCredentialsProvider::new(Without);
        let error = ask(&eks_auth(&Answering::default(), none())).await;
        let error = error.unwrap_err();
        let is_named = |error: &Unavailable| matches!(error, Unavailable::NoCredentials { .. });
        assert!(
            matches!(&error, EksAuthError::Unreachable(cause) if is_named(cause)),
            "{error}"
        );
        let eks_auth = with_route(None, "https://eks-auth.test");
        let error = eks_auth.check().await.unwrap_err();
        assert!(is_named(&error), "{error}");
        let route = eks_auth.route().await.unwrap().unwrap();
        assert!(route.load_credentials().await.is_err());
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_port_of_the_url_or_of_its_scheme_or_to_a_proxy() {
        let proxy = Matcher::builder().http("http://proxy.test:3128");
        let (direct, proxied) = (Matcher::builder().build(), proxy.build());
        for (endpoint, proxies, expected) in [
            ("https://eks-auth.test", &direct, ("eks-auth.test", 443)),
            ("http://eks-auth.test", &direct, ("eks-auth.test", 80)),
            (
                "http://eks-auth.test:8080",
                &direct,
                ("eks-auth.test", 8080),
            ),
            ("http://eks-auth.test", &proxied, ("proxy.test", 3128)),
        ] {
            let eks_auth = with_route(Some(()), endpoint);
            let way = eks_auth.route().await.unwrap().unwrap().way_by(proxies);
            assert_eq!((&*way.host, way.port), expected);
            assert_eq!(way.service, "eks-auth.test");
            assert_eq!(way.is_proxy, expected.0 == "proxy.test");
        }
    }

    #[test]
    fn what_is_set_can_be_read() {
        let eks_auth = SdkEksAuth::new("my-cluster").with_ca_bundle("/etc/ca.pem");
        assert_eq!(eks_auth.ca_bundle(), Some(Path::new("/etc/ca.pem")));
        assert!(format!("{eks_auth:?}").contains("my-cluster"));
        let eks_auth = eks_auth.with_endpoint("http://me:password@proxy.test/");
        assert!(!format!("{eks_auth:?}").contains("password"));
    }
}
