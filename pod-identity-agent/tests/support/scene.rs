use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eksauth::config::retry::RetryConfig;
use aws_sdk_eksauth::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eksauth::{Client as SdkClient, Config};
use pod_identity_agent::{Agent, AgentBuilder, Listen, SdkEksAuth};
use pod_identity_core::{Clock, Timestamp, TokenDigest};
use pod_identity_testkit::{MockEksAuth, SettableClock, TokenBuilder};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::client::{self, Answer, Client, Request};
use super::wall::Wall;
use super::{NOW, ROLE, SOON, soon};

/// An agent on loopback before a mock of EKS Auth that knows `shop/cart`. Time stands still for both,
/// until the test moves it.
pub(crate) struct Scene {
    pub(crate) eks: MockEksAuth,
    pub(crate) clock: Arc<SettableClock>,
    /// The true time, which EKS Auth has.
    pub(crate) time: Arc<Wall>,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    _agent: JoinSet<()>,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with(|agent| agent).await
    }

    /// As [`start`](Self::start), with other settings.
    pub(crate) async fn with(settings: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let wall = Arc::new(Wall::standing(NOW));
        // A busy machine is no reason for a 503, except where that is the subject.
        let patient = |agent: AgentBuilder| settings(agent.answer_within(SOON));
        Self::by(Arc::clone(&wall), wall, patient).await
    }

    /// In a test whose time is paused: it flows for all, and passes when nobody has anything to do. The
    /// test moves the clock of the agent only.
    pub(crate) async fn flowing(settings: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Self {
        let [agents, others] = [NOW; 2].map(|now| Arc::new(Wall::flowing(now)));
        Self::by(agents, others, settings).await
    }

    async fn by(
        agents: Arc<Wall>,
        others: Arc<Wall>,
        settings: impl FnOnce(AgentBuilder) -> AgentBuilder,
    ) -> Self {
        let eks = MockEksAuth::builder()
            .clock(Arc::clone(&others) as Arc<dyn Clock>)
            .start()
            .await
            .unwrap();
        eks.associate("shop", "cart", ROLE);
        let (credentials, address) = listener("127.0.0.1:0").await;
        let (exposition, metrics) = listener("127.0.0.1:0").await;
        let builder = Agent::builder(SdkEksAuth::new(eks.cluster()).with_client(sdk_client(&eks)))
            .clock(Arc::clone(&agents) as Arc<dyn Clock>)
            .seed(7)
            .listen(credentials)
            .listen_metrics(exposition);
        let agent = settings(builder).build();
        let mut running = JoinSet::new();
        running.spawn(async move { agent.run(std::future::pending()).await.unwrap() });
        Self {
            eks,
            clock: Arc::clone(&agents.set),
            time: others,
            address,
            metrics,
            _agent: running,
        }
    }

    /// An agent whose clients soon lose patience.
    pub(crate) async fn impatient() -> Self {
        Self::with(impatient).await
    }

    /// A good token for `shop/cart`; each call mints another.
    pub(crate) fn token(&self) -> String {
        self.builder().mint(self.clock.now())
    }

    pub(crate) fn builder(&self) -> TokenBuilder {
        self.eks.issuer().token("shop", "cart")
    }

    /// One request with this token.
    pub(crate) async fn get(&self, token: &str) -> Answer {
        self.ask(Request::with_token(token)).await
    }

    /// The same, as a pod with an address of its own.
    pub(crate) async fn get_as(&self, pod: IpAddr, token: &str) -> Answer {
        client::ask_from(pod, self.address, Request::with_token(token)).await
    }

    pub(crate) async fn ask(&self, request: Request<'_>) -> Answer {
        client::ask(self.address, request).await
    }

    pub(crate) async fn connect(&self) -> Client {
        soon(Client::connect(self.address)).await
    }

    /// The access key id of a success, asking again after each 503.
    pub(crate) async fn obtain(&self, token: &str) -> String {
        client::insist(self.address, token).await.key()
    }

    /// So many requests with this token, each over a connection of its own; they are all on their way,
    /// and the agent has read them.
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

    /// Waits until the agent has read what was sent before. It runs on this thread, and takes events in
    /// the order in which they come: whoever connects now is heard after those who have sent already.
    pub(crate) async fn catch_up(&self) {
        for _ in 0..3 {
            self.ask(Request::of("/")).await;
        }
    }

    /// How many times EKS Auth has been asked with this token.
    pub(crate) fn exchanges(&self, token: &str) -> usize {
        let digest = Some(TokenDigest::of(token.as_bytes()));
        let requests = self.eks.requests();
        requests
            .iter()
            .filter(|request| request.token == digest)
            .count()
    }

    /// Asks with this token until the answer is as wished.
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

    /// The metrics page.
    pub(crate) async fn exposition(&self) -> String {
        client::ask(self.metrics, Request::of("/metrics"))
            .await
            .body
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

pub(crate) fn impatient(agent: AgentBuilder) -> AgentBuilder {
    agent.answer_within(Duration::from_millis(100))
}

pub(crate) async fn listener(address: &str) -> (Listen, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
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
