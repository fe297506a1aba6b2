use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_sdk_eksauth::config::retry::RetryConfig;
use aws_sdk_eksauth::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eksauth::{Client as SdkClient, Config};
use pod_identity_agent::{Agent, AgentBuilder, Listen, SdkEksAuth, TokenKeys};
use pod_identity_core::{Clock, Timestamp, TokenDigest};
use pod_identity_testkit::{MockEksAuth, TokenBuilder};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::client::{self, Answer, Client, Request};
use super::log::{Log, Said};
use super::outside::{self, Outside, TimeFile};
use super::settings::Settings;
use super::wall::Wall;
use super::{NOW, ROLE, soon};

/// An agent on loopback with a mock of EKS Auth that has an association for `shop/cart`. Time is stopped for
/// both, until the test moves it.
///
/// The agent runs in the process of the test. If `POD_IDENTITY_LIBFAKETIME` is set, it is the built program
/// instead, with flags, and libfaketime sets its wall clock.
pub(crate) struct Scene {
    pub(crate) eks: MockEksAuth,
    /// The agent's clock.
    pub(crate) clock: Arc<Wall>,
    /// The true time, which EKS Auth has.
    pub(crate) time: Arc<Wall>,
    pub(crate) address: SocketAddr,
    /// That of [`Settings::also_at`].
    pub(crate) other_address: Option<SocketAddr>,
    pub(crate) metrics: SocketAddr,
    stage: Stage,
}

/// Where the agent runs.
enum Stage {
    Here(Here),
    Outside(Box<Outside>),
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::PATIENT).await
    }

    /// Starts an agent whose clients time out soon.
    pub(crate) async fn impatient() -> Self {
        Self::with(Settings::IMPATIENT).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        if outside::is_wanted() {
            Self::outside(settings).await
        } else {
            Self::here(settings, |agent| agent).await
        }
    }

    /// Always runs on the program.
    pub(crate) async fn outside(settings: Settings) -> Self {
        let time = TimeFile::new();
        let wall = Arc::new(Wall::standing(NOW).written_to(time.path()));
        Self::by_program(Arc::clone(&wall), wall, time, settings).await
    }

    /// Always runs on the program, in real time.
    pub(crate) async fn outside_flowing(settings: Settings) -> Self {
        let time = TimeFile::new();
        let agents = Wall::flowing(NOW).written_to(time.path());
        let others = Wall::flowing(NOW);
        Self::by_program(Arc::new(agents), Arc::new(others), time, settings).await
    }

    /// Always runs in the process of the test, with settings that no flag has.
    pub(crate) async fn here(
        settings: Settings,
        more: impl FnOnce(AgentBuilder) -> AgentBuilder,
    ) -> Self {
        let wall = Arc::new(Wall::standing(NOW));
        Self::inside(Arc::clone(&wall), wall, settings, |_eks| {}, more).await
    }

    /// Runs in the process of a test with paused time, which passes while all tasks are idle. The test moves
    /// only the clock of the agent.
    pub(crate) async fn flowing(settings: Settings) -> Self {
        Self::flowing_with(settings, |agent| agent).await
    }

    /// The same, with settings that no flag of [`Settings`] has.
    pub(crate) async fn flowing_with(
        settings: Settings,
        more: impl FnOnce(AgentBuilder) -> AgentBuilder,
    ) -> Self {
        let [agents, others] = [NOW; 2].map(|now| Arc::new(Wall::flowing(now)));
        Self::inside(agents, others, settings, |_eks| {}, more).await
    }

    /// The same, where the mock is prepared before the agent starts.
    pub(crate) async fn flowing_where(
        settings: Settings,
        prepare: impl FnOnce(&MockEksAuth),
    ) -> Self {
        let [agents, others] = [NOW; 2].map(|now| Arc::new(Wall::flowing(now)));
        Self::inside(agents, others, settings, prepare, |agent| agent).await
    }

    async fn inside(
        agents: Arc<Wall>,
        others: Arc<Wall>,
        settings: Settings,
        prepare: impl FnOnce(&MockEksAuth),
        more: impl FnOnce(AgentBuilder) -> AgentBuilder,
    ) -> Self {
        let eks = shop(&others).await;
        prepare(&eks);
        let (credentials, address) = listener("127.0.0.1:0".parse().unwrap());
        let (exposition, metrics) = listener("127.0.0.1:0".parse().unwrap());
        let mut builder =
            Agent::builder(SdkEksAuth::new(eks.cluster()).with_client(sdk_client(&eks)))
                .clock(Arc::clone(&agents) as Arc<dyn Clock>)
                .seed(7)
                .listen(credentials)
                .listen_metrics(exposition);
        if settings.is_verifying {
            let issuer = eks.endpoint().parse().unwrap();
            builder = builder.token_keys(TokenKeys::none().from_issuer(issuer, None));
        }
        let other = settings
            .also_at
            .map(|address| listener((address, 0).into()));
        let (other, other_address) = other.unzip();
        if let Some(other) = other {
            builder = builder.listen(other);
        }
        let agent = more(settings.apply_to(builder)).build();
        Self {
            eks,
            clock: agents,
            time: others,
            address,
            other_address,
            metrics,
            stage: Stage::Here(Here::start(agent)),
        }
    }

    async fn by_program(
        agents: Arc<Wall>,
        others: Arc<Wall>,
        time: TimeFile,
        settings: Settings,
    ) -> Self {
        let eks = shop(&others).await;
        let outside = Outside::start(&eks, time, &settings).await;
        Self {
            eks,
            clock: agents,
            time: others,
            address: outside.server.credentials,
            other_address: outside.other_address,
            metrics: outside.server.metrics,
            stage: Stage::Outside(Box::new(outside)),
        }
    }

    /// Returns a valid token for `shop/cart`; each call mints another.
    pub(crate) fn token(&self) -> String {
        self.builder().mint(self.now())
    }

    pub(crate) fn builder(&self) -> TokenBuilder {
        self.eks.issuer().token("shop", "cart")
    }

    /// Sends one request with this token.
    pub(crate) async fn get(&self, token: &str) -> Answer {
        self.ask(Request::with_token(token)).await
    }

    /// The same, as a pod with its own address.
    pub(crate) async fn get_as(&self, pod: IpAddr, token: &str) -> Answer {
        client::ask_from(pod, self.address, Request::with_token(token)).await
    }

    pub(crate) async fn ask(&self, request: Request<'_>) -> Answer {
        client::ask(self.address, request).await
    }

    pub(crate) async fn connect(&self) -> Client {
        soon(Client::connect(self.address)).await
    }

    /// Returns the access key id of a success, retrying after each 503.
    pub(crate) async fn obtain(&self, token: &str) -> String {
        client::insist(self.address, token).await.key()
    }

    /// Sends this many requests with this token, each over its own connection. Returns when the agent has read
    /// them.
    pub(crate) async fn crowd(&self, count: usize, token: &str) -> Vec<Client> {
        let mut crowd = Vec::new();
        for _ in 0..count {
            let mut client = self.connect().await;
            client.send(Request::with_token(token)).await;
            crowd.push(client);
        }
        self.catch_up().await;
        crowd
    }

    /// Waits until the agent has read what was sent before.
    pub(crate) async fn catch_up(&self) {
        match &self.stage {
            // The agent runs on this thread and takes events in their order: a client that connects now
            // is served after those that have sent already.
            Stage::Here(_) => {
                for _ in 0..3 {
                    self.ask(Request::of("/")).await;
                }
            }
            Stage::Outside(outside) => outside.catch_up().await,
        }
    }

    /// Returns the number of exchanges with this token.
    pub(crate) fn exchanges(&self, token: &str) -> usize {
        let digest = Some(TokenDigest::of(token.as_bytes()));
        let requests = self.eks.requests();
        requests
            .iter()
            .filter(|request| request.token == digest)
            .count()
    }

    /// Repeats a request with this token until the answer is as wished.
    pub(crate) async fn until(
        &self,
        token: &str,
        wished: impl Fn(&Answer) -> bool + Send + Sync,
    ) -> Answer {
        soon(async {
            loop {
                let answer = self.get(token).await;
                if wished(&answer) {
                    break answer;
                }
            }
        })
        .await
    }

    /// Waits until it verifies tokens with so many keys. Another thread serves the metrics, so this is for scenes
    /// whose time is not paused.
    pub(crate) async fn has_keys(&self, count: usize) {
        let line = format!("\npod_identity_token_keys {count}\n");
        soon(async { while !self.exposition().await.contains(&line) {} }).await;
    }

    /// The metrics page.
    pub(crate) async fn exposition(&self) -> String {
        client::ask(self.metrics, Request::of("/metrics"))
            .await
            .body
    }

    /// The agent's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stops the agent and returns its log, in which there must be no secret.
    pub(crate) async fn end(self) -> Said {
        let said = match self.stage {
            Stage::Here(here) => here.end().await,
            Stage::Outside(outside) => outside.end().await,
        };
        self.eks.assert_no_secrets(said.text());
        said
    }
}

/// An agent in the process of the test.
struct Here {
    running: JoinSet<()>,
    stop: oneshot::Sender<()>,
    log: Log,
}

impl Here {
    fn start(agent: Agent) -> Self {
        let log = Log::start();
        let (stop, stopped) = oneshot::channel();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let stop = async { stopped.await.unwrap_or_default() };
            agent.run(stop).await.unwrap();
        });
        Self { running, stop, log }
    }

    async fn end(mut self) -> Said {
        self.stop.send(()).unwrap();
        soon(self.running.join_next()).await.unwrap().unwrap();
        self.log.said()
    }
}

async fn shop(time: &Arc<Wall>) -> MockEksAuth {
    let clock = Arc::clone(time) as Arc<dyn Clock>;
    let eks = MockEksAuth::builder().clock(clock).in_this_runtime();
    let eks = eks.start().await.unwrap();
    eks.associate("shop", "cart", ROLE);
    eks
}

pub(crate) fn listener(address: SocketAddr) -> (Listen, SocketAddr) {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.unwrap();
    socket.bind(address).unwrap();
    // Room for a crowd that connects at once.
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    (Listen::On(listener), address)
}

/// The official client, with nothing from the environment.
pub(crate) fn sdk_client(eks: &MockEksAuth) -> SdkClient {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(eks.region().to_owned()))
        .endpoint_url(eks.endpoint())
        .credentials_provider(Credentials::new(
            "AKIANODE",
            "node-secret",
            None,
            None,
            "test",
        ))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    SdkClient::from_conf(config)
}
