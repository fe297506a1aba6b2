use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::Timestamp;
use pod_identity_core::wire::agent::decode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::node::Node;
use super::stream::ClientEnd;
use super::world::{HOUR, NODE_SOURCE, START, World};

/// A pod with its SDK, and all that a bad one does.
pub(super) struct Pod {
    pub(super) number: usize,
    address: IpAddr,
    source: usize,
    random: Rng,
    node: Arc<Node>,
    world: Arc<World>,
    limits: Limits,
    token: String,
    /// When kubelet renews it.
    renewed: Timestamp,
    token_life: Duration,
    /// A pod that only sends what is wrong.
    is_hostile: bool,
    idle: Option<ClientEnd>,
    pub(super) seen: Seen,
}

/// What a client may rely on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A request is answered within this.
    pub(super) answered_within: Duration,
    /// There are more connections than the agent has room for.
    pub(super) crowded: bool,
    /// How many tokens of other pods are at hand.
    pub(super) pods: usize,
}

/// What the clients of all schedules saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sets: u64,
    pub(super) late: u64,
    pub(super) refused: u64,
    pub(super) hung_up: u64,
    pub(super) closed: u64,
    pub(super) exchanges: u64,
    /// The longest that a pod was without credentials after everything was well again.
    pub(super) recovery: Duration,
    /// A digest of all answers in their order.
    pub(super) trace: u64,
}

/// An answer, or none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Set(u32),
    Status(u16, String),
    /// The agent has closed the connection, or has not accepted it.
    Closed,
}

impl Pod {
    pub(super) fn new(
        number: usize,
        node: &Arc<Node>,
        world: &Arc<World>,
        limits: Limits,
        random: &mut Rng,
    ) -> Self {
        let random = random.fork();
        let is_on_host_network = number % 5 == 4;
        let (address, source) = match is_on_host_network {
            true => (Ipv4Addr::new(127, 0, 0, number as u8), NODE_SOURCE),
            false => (Ipv4Addr::from(FIRST_ADDRESS + number as u32), number),
        };
        let mut pod = Self {
            number,
            address: address.into(),
            source,
            node: Arc::clone(node),
            world: Arc::clone(world),
            limits,
            token: String::new(),
            renewed: Timestamp::MIN,
            token_life: HOUR * 24,
            is_hostile: number % 7 == 6,
            idle: None,
            seen: Seen::default(),
            random,
        };
        if pod.random.u8(..4) == 0 {
            pod.token_life = HOUR;
        }
        pod
    }

    /// Lives until then. Its connections are closed afterwards.
    pub(super) async fn live(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            self.act().await;
            let longest = [1, 50, 3_000, 6_000][self.random.usize(..4)];
            sleep(Duration::from_millis(self.random.u64(..longest))).await;
        }
        self.idle = None;
        self
    }

    async fn act(&mut self) {
        match self.random.u8(..20) {
            _ if self.is_hostile && self.random.bool() => self.send_nonsense().await,
            0..=8 => self.call().await,
            9 | 10 => self.hang_up().await,
            11 | 12 => self.send_half().await,
            13 => self.stay_silent().await,
            14 => self.send_nonsense().await,
            15 => self.steal().await,
            16 => self.read_nothing().await,
            17 => self.crowd().await,
            18 => self.renewed = Timestamp::MIN,
            _ => self.idle = None,
        }
    }

    /// As an SDK does: three attempts.
    async fn call(&mut self) {
        for _attempt in 0..3 {
            if let Answer::Set(_) = self.ask().await {
                return;
            }
            sleep(Duration::from_millis(self.random.u64(200..1500))).await;
        }
    }

    /// One request with the pod's own token, by the connection that is open or another.
    pub(super) async fn ask(&mut self) -> Answer {
        let token = self.current_token();
        let idle = self.idle.take().filter(|_| self.random.u8(..4) > 0);
        self.request(idle, &token).await
    }

    async fn request(&mut self, idle: Option<ClientEnd>, token: &str) -> Answer {
        let is_fresh = idle.is_none();
        let client = idle.or_else(|| self.node.connect(self.address, AMPLE));
        let Some(mut client) = client else {
            self.may_be_closed(true);
            return self.saw(Answer::Closed);
        };
        let sent = Instant::now();
        // The agent may have closed it in this moment.
        let written = client.stream.write_all(request(token).as_bytes()).await;
        let (answer, may_go_on) = match written {
            Ok(()) => self.read(&mut client, token, sent).await,
            Err(_closed) => (Answer::Closed, false),
        };
        if answer == Answer::Closed {
            self.may_be_closed(is_fresh);
        }
        if may_go_on {
            self.idle = Some(client);
        }
        self.saw(answer)
    }

    /// Reads the answer to a request that is complete, and checks it.
    async fn read(&self, client: &mut ClientEnd, token: &str, sent: Instant) -> (Answer, bool) {
        let Ok(read) = timeout(self.limits.answered_within + TICK, read(client)).await else {
            let within = self.limits.answered_within;
            self.violate(format_args!("a request was not answered within {within:?}"));
            return (Answer::Closed, false);
        };
        let Some(response) = read else {
            return (Answer::Closed, false);
        };
        if response.body.contains("defect") {
            self.violate(&response.body);
        }
        let answer = match response.status {
            200 => match decode(response.body.as_bytes(), None) {
                Ok(set) => match self.world.check_set(token, sent, &set) {
                    Some(role) => Answer::Set(role),
                    None => Answer::Closed,
                },
                Err(error) => {
                    self.violate(format_args!("a set cannot be read: {error}"));
                    Answer::Closed
                }
            },
            status => Answer::Status(status, response.body),
        };
        (answer, !response.is_last)
    }

    /// Where there is room for all, no complete request remains without an answer.
    fn may_be_closed(&self, is_fresh: bool) {
        if !self.limits.crowded {
            let which = if is_fresh { "a new" } else { "an open" };
            self.violate(format_args!(
                "{which} connection was closed without an answer"
            ));
        }
    }

    /// Gives up while it waits.
    async fn hang_up(&mut self) {
        let token = self.current_token();
        let Some(mut client) = self.node.connect(self.address, AMPLE) else {
            return;
        };
        let _closed = client.stream.write_all(request(&token).as_bytes()).await;
        let patience = [0, 1, 30, 950][self.random.usize(..4)];
        sleep(Duration::from_millis(self.random.u64(..=patience))).await;
        self.seen.hung_up += 1;
    }

    /// Sends a part of a request, and perhaps the rest later.
    async fn send_half(&mut self) {
        let token = self.current_token();
        let Some(mut client) = self.node.connect(self.address, AMPLE) else {
            return;
        };
        let request = request(&token);
        let (first, rest) = request.split_at(self.random.usize(1..request.len()));
        let _closed = client.stream.write_all(first.as_bytes()).await;
        let pause = Duration::from_millis(self.random.u64(..7_000));
        sleep(pause).await;
        if self.random.bool() {
            return;
        }
        let sent = Instant::now();
        let written = client.stream.write_all(rest.as_bytes()).await;
        // 5 s are the limit; just at it, both may happen.
        let is_in_time = pause < Duration::from_millis(4_990);
        let is_too_late = pause > Duration::from_millis(5_010);
        let answer = match written {
            Ok(()) => self.read(&mut client, &token, sent).await.0,
            Err(_closed) => Answer::Closed,
        };
        match answer {
            Answer::Closed if is_in_time => self.may_be_closed(true),
            Answer::Closed => {}
            _ if is_too_late && !self.limits.crowded => {
                self.violate(format_args!("a header that took {pause:?} was answered"));
            }
            _ => {}
        }
        self.saw(answer);
    }

    async fn stay_silent(&mut self) {
        let client = self.node.connect(self.address, AMPLE);
        sleep(Duration::from_millis(self.random.u64(..3_000))).await;
        if self.random.bool() && !self.limits.crowded {
            let token = self.current_token();
            self.request(client, &token).await;
        }
    }

    /// A token with a wrong signature, for another audience, of yesterday, or none at all; or no request for
    /// credentials.
    async fn send_nonsense(&mut self) {
        let burst = match self.is_hostile {
            true => self.random.usize(1..30),
            false => 1,
        };
        let kind = self.random.u8(..5);
        for _request in 0..burst {
            let victim = self.random.usize(..self.limits.pods);
            let issuer = &self.world.issuer;
            let other = issuer.token("shop", "account-0");
            let other = other.claim("jti", self.random.u64(..));
            let token = match kind {
                0 | 1 => match self.world.forged(victim, self.random.u32(..)) {
                    Some(token) => token,
                    None => return,
                },
                2 => "not.a.token".to_owned(),
                3 => other
                    .audience("sts.amazonaws.com")
                    .mint(self.world.true_now()),
                _ => other.mint(self.world.true_now() - HOUR * 49),
            };
            let expires = self.world.true_now() + HOUR;
            self.world
                .introduce(token.clone(), victim, self.source, expires, true);
            if let Answer::Status(status, _) = self.request(None, &token).await
                && ![400, 401, 403, 404, 500, 503].contains(&status)
            {
                self.violate(format_args!("status {status} for nonsense"));
            }
        }
    }

    /// Sends the token of another pod, and gets what that would get: a token is all that counts.
    async fn steal(&mut self) {
        let number = self.random.usize(..self.limits.pods);
        let Some(token) = self.world.stolen(number) else {
            return;
        };
        self.request(None, &token).await;
    }

    /// Sends requests one after another, and reads no answer for a while.
    async fn read_nothing(&mut self) {
        let token = self.current_token();
        let Some(mut client) = self.node.connect(self.address, 512) else {
            return;
        };
        let requests = request(&token).repeat(self.random.usize(1..5));
        let patience = Duration::from_millis(self.random.u64(..9_000));
        let _blocked = timeout(patience, client.stream.write_all(requests.as_bytes())).await;
        sleep(Duration::from_millis(self.random.u64(..9_000))).await;
        self.seen.hung_up += 1;
    }

    /// Many clients at once.
    async fn crowd(&mut self) {
        let token = self.current_token();
        let mut clients = JoinSet::new();
        for number in 0..self.random.usize(2..16) {
            let client = Self {
                node: Arc::clone(&self.node),
                world: Arc::clone(&self.world),
                random: self.random.fork(),
                token: token.clone(),
                idle: None,
                seen: Seen::default(),
                ..*self
            };
            let token = token.clone();
            clients.spawn(async move {
                let mut client = client;
                sleep(Duration::from_millis((number % 3) as u64)).await;
                client.request(None, &token).await;
                client.seen
            });
        }
        for seen in clients.join_all().await {
            self.seen.add(seen);
        }
    }

    fn current_token(&mut self) -> String {
        let now = self.world.true_now();
        if self.renewed <= now {
            self.token = self
                .world
                .project(self.number, self.source, self.token_life);
            self.renewed = now + self.token_life.mul_f64(0.8);
        }
        self.token.clone()
    }

    fn saw(&mut self, answer: Answer) -> Answer {
        let code = match &answer {
            Answer::Set(role) => {
                self.seen.sets += 1;
                1000 + u64::from(*role)
            }
            Answer::Status(503, _) => {
                self.seen.late += 1;
                503
            }
            Answer::Status(status, _) => {
                self.seen.refused += 1;
                u64::from(*status)
            }
            Answer::Closed => {
                self.seen.closed += 1;
                0
            }
        };
        let millis = self.world.true_now().saturating_since(START).as_millis() as u64;
        self.seen.note(millis << 16 | code);
        answer
    }

    fn violate(&self, what: impl std::fmt::Display) {
        self.world
            .violate(format_args!("pod {}: {what}", self.number));
    }
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.sets += other.sets;
        self.late += other.late;
        self.refused += other.refused;
        self.hung_up += other.hung_up;
        self.closed += other.closed;
        self.exchanges += other.exchanges;
        self.recovery = self.recovery.max(other.recovery);
        self.note(other.trace);
    }

    fn note(&mut self, event: u64) {
        self.trace = (self.trace.rotate_left(5) ^ event).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

struct Response {
    status: u16,
    body: String,
    is_last: bool,
}

/// `None` if the connection is closed before.
async fn read(client: &mut ClientEnd) -> Option<Response> {
    let mut bytes = Vec::new();
    loop {
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(Response {
                    status: head.get(9..12)?.parse().ok()?,
                    body: body.to_owned(),
                    is_last: head.contains("connection: close"),
                });
            }
        }
        let mut part = [0; 4096];
        let count = client
            .stream
            .read(&mut part)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
    }
}

fn request(token: &str) -> String {
    format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n\r\n"
    )
}

const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 0, 1, 0]);

/// Times are whole milliseconds, and several of them add up.
const TICK: Duration = Duration::from_millis(20);

/// Both directions hold a request with its answer.
const AMPLE: usize = 64 * 1024;
