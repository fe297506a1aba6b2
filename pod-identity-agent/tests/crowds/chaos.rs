//! Mixed load while EKS Auth fails at random in every way, and the invariants that must hold.
//!
//! Pods rotate their tokens, forge some, time out, keep connections or not; EKS Auth refuses, throttles,
//! hangs, truncates responses, sends garbage or expired credentials, and stops. The invariants: no panic;
//! memory and descriptors stay flat; no credentials that have expired or belong to another pod; no more
//! exchanges than the budgets allow.
//!
//! Ten seconds by default. Ten minutes with
//! `cargo test -p pod-identity-agent --test crowds chaos -- --ignored --nocapture`. Each run prints its seed,
//! which is [`SEED`]; the load and the faults follow it, their interleaving does not.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, SystemClock, Timestamp, TokenDigest};
use pod_identity_testkit::{Association, Fault, Issuer, MockEksAuth, ServiceError, Stage};
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::client::{Answer, Client, Request};
use crate::support::process::Server;
use crate::support::{SECOND, pod, soon};

/// Change it to see another run.
const SEED: u64 = 20_260_301;

const PODS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seconds_of_chaos() {
    chaos(10 * SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "10 minutes"]
async fn ten_minutes_of_chaos() {
    chaos(600 * SECOND).await;
}

async fn chaos(time: Duration) {
    println!("seed {SEED}");
    let eks = Arc::new(soon(MockEksAuth::start()).await);
    for number in 0..PODS {
        let role = format!("arn:aws:iam::111122223333:role/app-{number}");
        eks.add(Association::new("shop", format!("app-{number}"), role));
    }
    // Refreshes are as frequent as the rules allow, and pods are soon answered 503.
    let flags = [
        "--max-credential-retention-before-renewal=10s",
        "--answer-within=200ms",
    ];
    let server = Server::start(&eks, &flags).await;
    let end = Instant::now() + time;
    let mut rng = Rng::with_seed(SEED);

    let mut pods = JoinSet::new();
    for number in 0..PODS {
        let pod = Pod {
            number,
            address: server.credentials,
            issuer: eks.issuer().clone(),
            rng: Rng::with_seed(rng.u64(..)),
            seen: Seen::default(),
        };
        pods.spawn(pod.live(end));
    }
    let mut faults = JoinSet::new();
    faults.spawn(fail(Arc::clone(&eks), Rng::with_seed(rng.u64(..)), end));
    let mut measured = Vec::new();
    while Instant::now() < end {
        // An interval of the measurement, not a wait for something.
        sleep(time / 10).await;
        measured.push(Footprint::of(&server));
    }
    let seen = pods.join_all().await;
    faults.join_all().await;

    recovers(&eks, &server).await;
    judge(&eks, &seen, time);
    println!("{measured:?}");
    flat(&measured);
    server.program.signal(Signal::TERM);
    let ended = server.program.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stdout.contains("panicked") && !ended.stderr.contains("panicked"));
    assert!(!tells_a_secret(&ended.stdout, &eks) && !tells_a_secret(&ended.stderr, &eks));
    let told = format!("token={}.", eks.secrets()[0].expose());
    assert!(tells_a_secret(&told, &eks), "or the look finds nothing");
}

/// Searches for prefixes of secrets, because there are many secrets and many lines.
fn tells_a_secret(log: &str, eks: &MockEksAuth) -> bool {
    const BEGINNING: usize = 16;
    let secrets = eks.secrets();
    let mut by_beginning: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for secret in &secrets {
        let secret = secret.expose().as_bytes();
        let beginning = &secret[..BEGINNING];
        by_beginning.entry(beginning).or_default().push(secret);
    }
    let log = log.as_bytes();
    log.windows(BEGINNING).enumerate().any(|(at, beginning)| {
        let secrets = by_beginning.get(beginning);
        secrets.is_some_and(|secrets| secrets.iter().any(|secret| log[at..].starts_with(secret)))
    })
}

/// A pod, which has one service account and one address.
struct Pod {
    number: usize,
    address: SocketAddr,
    issuer: Issuer,
    rng: Rng,
    seen: Seen,
}

/// What a pod has received and sent.
#[derive(Default)]
struct Seen {
    number: usize,
    keys: HashSet<String>,
    answers: HashMap<u16, usize>,
    tokens: HashSet<TokenDigest>,
}

impl Pod {
    async fn live(mut self, end: Instant) -> Seen {
        self.seen.number = self.number;
        let mut token = self.token();
        let mut kept = self.connect().await;
        while Instant::now() < end {
            match self.rng.u32(..100) {
                0..8 => token = self.token(),
                8..16 => self.give_up(&token).await,
                16..20 => {
                    self.ask_with(&self.builder().forged().mint(SystemClock.now()))
                        .await
                }
                20..22 => self.ask_with("garbage").await,
                22..40 => self.ask_with(&token).await,
                _ => self.ask(&mut kept, &token).await,
            }
            sleep(Duration::from_millis(self.rng.u64(1..60))).await;
        }
        self.seen
    }

    async fn connect(&self) -> Client {
        Client::connect_from(pod(self.number), self.address).await
    }

    fn builder(&self) -> pod_identity_testkit::TokenBuilder {
        self.issuer.token("shop", format!("app-{}", self.number))
    }

    fn token(&self) -> String {
        self.builder().mint(SystemClock.now())
    }

    /// Over a connection of its own.
    async fn ask_with(&mut self, token: &str) {
        let mut client = self.connect().await;
        self.ask(&mut client, token).await;
    }

    async fn ask(&mut self, client: &mut Client, token: &str) {
        self.seen.tokens.insert(TokenDigest::of(token.as_bytes()));
        let sent = SystemClock.now();
        let answer = client.ask(Request::with_token(token)).await;
        *self.seen.answers.entry(answer.status).or_default() += 1;
        if answer.status == 200 {
            let left = expiration(&answer).saturating_since(sent);
            // 15 s, of which the seconds' fraction is not written.
            assert!(left >= 14 * SECOND, "{left:?} left");
            self.seen.keys.insert(answer.key());
        }
    }

    async fn give_up(&mut self, token: &str) {
        self.seen.tokens.insert(TokenDigest::of(token.as_bytes()));
        let mut client = self.connect().await;
        client.send(Request::with_token(token)).await;
        sleep(Duration::from_millis(self.rng.u64(0..20))).await;
    }
}

/// Injects another kind of failure now and then, or none.
async fn fail(eks: Arc<MockEksAuth>, mut rng: Rng, end: Instant) {
    while Instant::now() < end {
        eks.clear_faults();
        let choice = rng.u32(..40);
        if choice == 0 {
            eks.stop().await;
            sleep(Duration::from_millis(rng.u64(50..800))).await;
            eks.restart().await.unwrap();
        } else {
            // In so short a time there may be no request for it.
            eks.inject_always(fault(choice, &mut rng).optional());
        }
        sleep(Duration::from_millis(rng.u64(50..600))).await;
    }
    eks.clear_faults();
}

fn fault(choice: u32, rng: &mut Rng) -> Fault {
    match choice {
        1 => Fault::stall(Stage::BeforeHeaders),
        2 => Fault::reset(Stage::BeforeHeaders),
        3 => Fault::text(502, "<html>bad gateway</html>"),
        4 => Fault::body("{"),
        5 => Fault::without("credentials.expiration"),
        6 => Fault::without("subject.namespace"),
        7 => Fault::expires_in(SECOND * rng.u32(0..30)),
        8 => Fault::latency(Duration::from_millis(rng.u64(10..1200))),
        9 => {
            let wish = Duration::from_millis(rng.u64(100..1500));
            ServiceError::new(ErrorCode::Throttling)
                .retry_after(wish)
                .into()
        }
        choice @ 10..16 => CODES[choice as usize - 10].into(),
        _ => Fault::expires_in(SECOND * rng.u32(18..60)),
    }
}

const CODES: [ErrorCode; 6] = [
    ErrorCode::AccessDenied,
    ErrorCode::ExpiredToken,
    ErrorCode::InvalidToken,
    ErrorCode::ResourceNotFound,
    ErrorCode::InternalServer,
    ErrorCode::Throttling,
];

/// After the recovery of EKS Auth, a new pod gets credentials.
async fn recovers(eks: &MockEksAuth, server: &Server) {
    let token = eks.issuer().token("shop", "app-0").mint(SystemClock.now());
    let recovered = async {
        loop {
            let mut client = Client::connect_from(pod(PODS), server.credentials).await;
            match client.ask(Request::with_token(&token)).await.status {
                200 => break,
                status => assert_eq!(status, 503),
            }
        }
    };
    soon(recovered).await;
}

/// Checks the owner of each key, and the number of exchanges.
fn judge(eks: &MockEksAuth, seen: &[Seen], time: Duration) {
    let requests = eks.requests();
    let mut owners = HashMap::new();
    let mut exchanged: HashMap<TokenDigest, usize> = HashMap::new();
    for request in &requests {
        *exchanged.entry(request.token.unwrap()).or_default() += 1;
        let key = request
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.access_key_id.clone());
        let claims = request.claims.as_ref();
        if let (Some(key), Some(owner)) = (
            key,
            claims.and_then(|claims| claims.service_account.clone().map(String::from)),
        ) {
            owners.insert(key, owner);
        }
    }
    let mut answers: HashMap<u16, usize> = HashMap::new();
    for pod in seen {
        let own = format!("app-{}", pod.number);
        for key in &pod.keys {
            assert_eq!(owners.get(key), Some(&own), "{key}");
        }
        for (status, count) in &pod.answers {
            *answers.entry(*status).or_default() += count;
        }
        let paid = pod
            .tokens
            .iter()
            .filter(|token| exchanged.contains_key(*token))
            .count();
        let budget = 10 + 2 * time.as_secs() as usize + 2;
        assert!(
            paid <= budget,
            "{own} had {paid} tokens exchanged, with a budget of {budget}"
        );
    }
    println!(
        "{} exchanges of {} tokens; {answers:?}",
        requests.len(),
        exchanged.len()
    );
    assert!(
        answers.get(&200).is_some_and(|count| *count > 100),
        "{answers:?}"
    );
    let known = [200, 400, 404, 500, 503];
    assert!(
        answers.keys().all(|status| known.contains(status)),
        "{answers:?}"
    );
    // First exchanges within the budget of each pod, refreshes at their pace, and retries while a client
    // waits: with their backoff, at most 8 in 10 s.
    let seconds = time.as_secs() as usize + 1;
    let first = PODS * (10 + 2 * seconds);
    assert!(
        requests.len() <= first + 3 * seconds + 8 * exchanged.len(),
        "{}",
        requests.len()
    );
}

fn expiration(answer: &Answer) -> Timestamp {
    let json = answer.json();
    Timestamp::parse_rfc3339(json["Expiration"].as_str().unwrap()).unwrap()
}

#[derive(Debug)]
struct Footprint {
    kib: usize,
    descriptors: usize,
}

impl Footprint {
    fn of(server: &Server) -> Self {
        let process = format!("/proc/{}", server.program.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count(),
        }
    }
}

/// The second half needs no more than the first, but for what the allocator keeps and the cache holds.
fn flat(measured: &[Footprint]) {
    let (first, second) = measured.split_at(measured.len() / 2);
    let most = |half: &[Footprint], what: fn(&Footprint) -> usize| half.iter().map(what).max();
    let kib = [first, second].map(|half| most(half, |at| at.kib).unwrap());
    assert!(kib[1] <= kib[0] + 16 * 1024, "{measured:?}");
    let descriptors = [first, second].map(|half| most(half, |at| at.descriptors).unwrap());
    assert!(descriptors[1] <= descriptors[0] + 64, "{measured:?}");
}
