use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use http::{Response, StatusCode};
use pod_identity_core::{Clock, Credentials, Secret, SystemClock, Timestamp, TokenBucket};
use pod_identity_testkit::{Fault, Issuer, MockEksAuth};
use tokio::time::Instant;

use crate::cgroup::Cgroup;
use crate::load::{Connection, pod};
use crate::program::Program;

/// What a bench returns.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// EKS Auth, which gives the same credentials for everything.
#[derive(Debug)]
pub struct Upstream {
    /// The mock that answers.
    pub mock: MockEksAuth,
    /// The issuer of the tokens that it accepts.
    pub issuer: Issuer,
    tokens: Mutex<HashMap<usize, String>>,
}

impl Upstream {
    /// Starts one whose answers take this long.
    ///
    /// # Errors
    /// None so far.
    pub async fn start(latency: Duration) -> Result<Self> {
        let session = session(&credentials());
        Self::answering(latency, move || Response::new(session.clone())).await
    }

    /// Starts one that grants so many exchanges per second, one second's worth at once, and throttles the others.
    ///
    /// # Errors
    /// None so far.
    pub async fn limited(latency: Duration, per_second: u32) -> Result<Self> {
        let session = session(&credentials());
        let bucket = Mutex::new(TokenBucket::new(per_second, per_second.into()));
        let answer = move || {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            if bucket.try_take(SystemClock.now()) {
                return Response::new(session.clone());
            }
            let throttled = r#"{"message":"Rate exceeded"}"#.to_owned();
            let mut response = Response::new(throttled);
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            let headers = response.headers_mut();
            headers.insert("x-amzn-errortype", THROTTLED);
            response
        };
        Self::answering(latency, answer).await
    }

    async fn answering(
        latency: Duration,
        answer: impl Fn() -> Response<String> + Send + Sync + 'static,
    ) -> Result<Self> {
        let mock = MockEksAuth::start().await;
        // Some parts cause no exchange.
        if !latency.is_zero() {
            mock.inject_always(Fault::latency(latency).optional());
        }
        mock.inject_always(Fault::respond(move |_| answer()).optional());
        let issuer = mock.issuer().clone();
        Ok(Self {
            mock,
            issuer,
            tokens: Mutex::default(),
        })
    }

    /// Starts an agent that calls it, where one is given within the limits of a cgroup.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn before(
        &self,
        program: &Path,
        more: &[&str],
        within: Option<&Cgroup>,
    ) -> Result<Program> {
        // Pods of the bench have addresses of loopback, which our agent takes for the node's own.
        let pods: &[&str] = if is_peer(program) {
            &[]
        } else {
            &["--node-ranges=::1/128"]
        };
        let flags = [pods, more].concat();
        let endpoint = self.mock.endpoint();
        Ok(Program::agent(program, &endpoint, &flags, within)?)
    }

    /// As long as real ones, and of the right shape. Each number has its own.
    pub fn token(&self, number: usize) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.entry(number).or_insert_with(|| {
            let builder = self
                .issuer
                .token("shop", "cart")
                .pod(format!("cart-{number}"));
            builder.forged().mint(SystemClock.now())
        });
        token.clone()
    }

    /// An exchange of a token as it goes over the wire.
    pub fn request(&self, token: &str) -> Vec<u8> {
        let body = format!(r#"{{"token":"{token}"}}"#);
        let length = body.len();
        let address = self.mock.address();
        format!(
            "POST /clusters/test-cluster/assume-role-for-pod-identity HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Returns the other agent, which `PEER_AGENT` names.
#[expect(clippy::disallowed_methods, reason = "the edge of the programs")]
pub fn peer() -> Option<PathBuf> {
    std::env::var_os("PEER_AGENT").map(PathBuf::from)
}

fn is_peer(program: &Path) -> bool {
    peer().is_some_and(|peer| peer == program)
}

/// Credentials about as long as real ones.
pub fn credentials() -> Credentials {
    let expires = SystemClock.now() + Duration::from_secs(6 * 3600);
    let (secret, token) = (Secret::from("s".repeat(40)), Secret::from("t".repeat(900)));
    Credentials::new("ASIABENCHBENCHBENCH0", secret, token, expires).with_account_id("111122223333")
}

/// As soon as it listens.
///
/// # Errors
/// When it does not within ten seconds.
pub async fn connected(server: &Program) -> Result<Connection> {
    let began = Instant::now();
    loop {
        match server.connect(pod(0)).await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Err(_not_yet) => tokio::time::sleep(Duration::from_micros(200)).await,
        }
    }
}

/// Connections of as many pods that have all asked for the credentials of token 0.
///
/// # Errors
/// When a connection breaks.
pub async fn warm(server: &Program, eks: &Upstream, count: usize) -> Result<Vec<Connection>> {
    connected(server).await?;
    let opened = (0..count).map(|number| server.connect(pod(number)));
    let mut connections = try_join_all(opened).await?;
    for connection in &mut connections {
        connection.ask(&eks.token(0)).await?;
    }
    Ok(connections)
}

fn session(credentials: &Credentials) -> String {
    let epoch = Timestamp::from_unix_secs(0);
    format!(
        concat!(
            r#"{{"subject":{{"namespace":"shop","serviceAccount":"cart"}},"#,
            r#""audience":"pods.eks.amazonaws.com","#,
            r#""podIdentityAssociation":{{"associationArn":"arn:a","associationId":"a-1"}},"#,
            r#""assumedRoleUser":{{"arn":"arn:aws:sts::111122223333:assumed-role/r/s","#,
            r#""assumeRoleId":"A:s"}},"credentials":{{"accessKeyId":"{}","secretAccessKey":"{}","#,
            r#""sessionToken":"{}","expiration":{}}}}}"#
        ),
        credentials.access_key_id(),
        credentials.secret_access_key().expose(),
        credentials.session_token().expose(),
        credentials.expiration().saturating_since(epoch).as_secs(),
    )
}

const THROTTLED: http::HeaderValue = http::HeaderValue::from_static("ThrottlingException");
