use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::controls::Controls;
use super::moving_clock::MovingClock;
use super::pod::Listen;
use crate::Fault;
use crate::fault::error::FaultError;
use crate::http::answer::{self, Answer};
use crate::http::server::{Server, Service};

/// The endpoint at which a test in another process injects faults and reads recorded requests, on a loopback
/// port of its own. Dropping it stops it, and the mock.
///
/// Any program on the machine can connect to loopback, and so can a web page whose name resolves to it.
/// So `Host` must be the address, and each request must have the token, which only the ready line contains.
#[derive(Debug)]
pub(super) struct Admin<C> {
    server: Server<AdminService<C>>,
}

impl<C: Controls> Admin<C> {
    /// # Errors
    /// Fails if there is no loopback port, or no randomness.
    pub(super) async fn start(controls: C, clock: Arc<MovingClock>) -> io::Result<Self> {
        let listener = Listen::LOOPBACK.listener().await?;
        let service = AdminService {
            address: listener.local_addr()?,
            token: random_token()?,
            controls,
            clock,
            forgotten: AtomicUsize::new(0),
        };
        Ok(Self {
            server: Server::start(listener, Arc::new(service))?,
        })
    }

    /// Returns the member `admin` of the ready line, the only place that has the token.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "uri": format!("http://{}", self.server.address()),
            "token": self.server.service().token,
        })
    }
}

struct AdminService<C> {
    address: SocketAddr,
    token: String,
    controls: C,
    clock: Arc<MovingClock>,
    /// The number of requests before the last reset. Relaxed, because the recorder's lock orders the requests.
    forgotten: AtomicUsize,
}

impl<C> fmt::Debug for AdminService<C> {
    /// Does not show the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl<C: Controls> Service for AdminService<C> {
    async fn serve(&self, stream: TcpStream) {
        let answer = service_fn(|request| self.call(request));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // A client may end its connection in any way.
        served.await.ok();
    }
}

impl<C: Controls> AdminService<C> {
    async fn call(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let answer = match self.admit(&head.headers) {
            Err(stranger) => refusal(stranger.status(), &stranger.to_string()),
            Ok(()) => match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => self.route(&head, &body.to_bytes()).await,
                Err(error) => refusal(400, &format!("cannot read the body: {error}")),
            },
        };
        Ok(answer.map(Full::new))
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Stranger> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if host != Some(self.address.to_string().as_str()) {
            return Err(Stranger::Host(self.address));
        }
        let wanted = format!("Bearer {}", self.token);
        let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let sent = sent.unwrap_or_default();
        aws_lc_rs::constant_time::verify_slices_are_equal(sent, wanted.as_bytes())
            .map_err(|_different| Stranger::Token)
    }

    async fn route(&self, head: &Parts, body: &[u8]) -> Answer {
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/faults") => self.inject(body).await,
            (&Method::DELETE, "/faults") => done(self.controls.clear_faults().await),
            (&Method::GET, "/requests") => self.requests(),
            (&Method::POST, "/rotate") => done(self.controls.rotate().await),
            (&Method::POST, "/clock") => self.advance(body).await,
            (&Method::POST, "/reset") => done(self.reset().await),
            (&Method::POST, path) if path.starts_with(GATES) => self.release(path),
            (method, path) => {
                let known = "POST or DELETE /faults, GET /requests, POST /rotate, /clock, /reset or \
                     /gates/<name>";
                refusal(404, &format!("{method} {path} is not {known}"))
            }
        }
    }

    /// Injects a fault. Returns after its effect on the port.
    async fn inject(&self, body: &[u8]) -> Answer {
        let injected = serde_json::from_slice(body)
            .map_err(NotInjected::Json)
            .and_then(|fault: Fault| Ok(self.controls.inject(fault)?));
        match injected {
            Ok(()) => done(self.controls.catch_up().await),
            Err(error) => refusal(400, &error.to_string()),
        }
    }

    fn release(&self, path: &str) -> Answer {
        let gates = self.controls.gates();
        let name = path.strip_prefix(GATES).unwrap_or_default();
        let name = percent_decode_str(name).decode_utf8_lossy();
        if gates.release(&name) {
            return done(Ok(()));
        }
        let remedy = match gates.names().as_slice() {
            [] => "no fault has a gate now; inject one with `until`".to_owned(),
            names => format!("those that are shut are {}", names.join(", ")),
        };
        refusal(400, &format!("there is no shut gate {name}: {remedy}"))
    }

    fn requests(&self) -> Answer {
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        let requests = self.controls.requests();
        let requests: Vec<_> = requests.into_iter().skip(forgotten).collect();
        answer::json(200, json!({ "requests": requests }).to_string())
    }

    async fn advance(&self, body: &[u8]) -> Answer {
        let advance = match serde_json::from_slice::<Advance>(body) {
            Ok(advance) => advance,
            Err(error) => {
                let message = format!("expected {{\"advance_seconds\": 3600}}: {error}");
                return refusal(400, &message);
            }
        };
        let now = self.clock.advance(advance.advance_seconds);
        match self.controls.catch_up().await {
            Ok(()) => answer::json(200, json!({ "now": now }).to_string()),
            Err(error) => done(Err(error)),
        }
    }

    /// Restores the state after the start: no requests, the system's time, a new token, no faults but those
    /// of the scenario, which begins again. Associations are kept.
    async fn reset(&self) -> io::Result<()> {
        self.clock.reset();
        self.controls.reset().await?;
        let arrived = self.controls.requests().len();
        self.forgotten.store(arrived, Ordering::Relaxed);
        Ok(())
    }
}

/// Why a fault cannot be injected.
#[derive(Debug, thiserror::Error)]
enum NotInjected {
    #[error("cannot read the fault: {0}")]
    Json(serde_json::Error),
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// Why a request is not admitted.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    #[error("another Host than {0}; use the uri of the ready line")]
    Host(SocketAddr),
    #[error("no token or another one; send `Authorization: Bearer` with that of the ready line")]
    Token,
}

impl Stranger {
    const fn status(&self) -> u16 {
        match self {
            Self::Host(_) => 403,
            Self::Token => 401,
        }
    }
}

/// The body of a request to `/clock`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: i64,
}

fn done(done: io::Result<()>) -> Answer {
    match done {
        Ok(()) => answer::json(200, "{}".to_owned()),
        Err(error) => refusal(500, &format!("the mock cannot do that now: {error}")),
    }
}

fn refusal(status: u16, message: &str) -> Answer {
    answer::json(status, json!({ "error": message }).to_string())
}

/// 256 random bits.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().fold(String::new(), |mut token, byte| {
        // Writing to a string cannot fail.
        let _written = write!(token, "{byte:02x}");
        token
    }))
}

const GATES: &str = "/gates/";
const MAX_BODY: usize = 64 * 1024;
