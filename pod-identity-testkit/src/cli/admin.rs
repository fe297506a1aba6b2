use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use pod_identity_core::Clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use super::cluster_controls::ClusterControls;
use super::controls::Controls;
use super::moving_clock::MovingClock;
use super::pod::Listen;
use crate::Fault;
#[cfg(test)]
use crate::Operation;
use crate::fault::error::FaultError;
use crate::fault::span::Span;
use crate::http::answer::{self, Answer};
use crate::http::server::{Server, Service};
use crate::mock::mock::Mock;
use crate::record::recorder::{Counts, Kept};
use crate::record::redaction;
use crate::scenario::VERSION;
use crate::scenario::expected::{Expected, ExpectedError};
use crate::sync::lock;

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
            dropped: AtomicUsize::new(0),
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
    /// How many requests had arrived when the last were dropped. It guards no other data, so relaxed order is enough.
    dropped: AtomicUsize,
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
        let path = head.uri.path();
        let segments: Vec<String> = path
            .trim_start_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (head.method.as_str(), segments.as_slice()) {
            ("GET", [""]) => ok(&json!({ "version": VERSION, "mock": C::KIND.name() })),
            ("GET", ["openapi.json"]) => answer::json(200, OPENAPI),
            ("GET", ["faults"]) => self.faults(),
            ("POST", ["faults"]) => self.inject(body).await,
            ("DELETE", ["faults"]) => done(self.controls.clear_faults().await),
            ("GET", ["gates"]) => ok(&json!({ "gates": self.controls.service().gates().names() })),
            ("POST", ["gates", name]) => self.release(name),
            ("GET", ["requests"]) => self.requests(),
            ("DELETE", ["requests"]) => {
                self.forget_requests();
                done(Ok(()))
            }
            ("POST", ["expectations"]) => self.expect(body),
            ("DELETE", ["expectations"]) => {
                self.forget_expectations();
                done(Ok(()))
            }
            ("POST", ["verify"]) => self.verify(),
            ("POST", ["wait"]) => self.wait(body).await,
            ("POST", ["rotate"]) => self.rotate().await,
            ("GET", ["clock"]) => ok(&json!({ "now": self.clock.now() })),
            ("POST", ["clock"]) => self.advance(body).await,
            ("DELETE", ["clock"]) => {
                self.clock.reset();
                done(self.controls.catch_up().await)
            }
            ("POST", ["reset"]) => done(self.reset().await),
            (method, segments) => match (is_of_cluster(segments), self.controls.cluster()) {
                (false, _) => no_route(method, path),
                (true, None) if has_route(method, path) => {
                    refusal(404, &format!("{path} is of the mock `eks` only"))
                }
                (true, None) => no_route(method, path),
                (true, Some(cluster)) => cluster_route(&cluster, method, path, segments, body),
            },
        }
    }

    fn faults(&self) -> Answer {
        let mock = self.controls.service();
        ok(&json!({ "faults": mock.faults().pending(mock.now()) }))
    }

    /// Injects a fault. Returns after its effect on the port.
    async fn inject(&self, body: &[u8]) -> Answer {
        let injected = super::body::read(body)
            .map_err(NotInjected::Json)
            .and_then(|fault: Fault| Ok(self.controls.inject(fault)?));
        match injected {
            Ok(()) => done(self.controls.catch_up().await),
            Err(error) => refusal(400, &error.to_string()),
        }
    }

    fn release(&self, name: &str) -> Answer {
        let gates = self.controls.service().gates();
        if gates.release(name) {
            return done(Ok(()));
        }
        let remedy = match gates.names().as_slice() {
            [] => "no fault has a gate now; inject one with `until`".to_owned(),
            names => format!("those that are shut are {}", names.join(", ")),
        };
        refusal(400, &format!("there is no shut gate {name}: {remedy}"))
    }

    fn requests(&self) -> Answer {
        let Kept {
            requests,
            forgotten,
        } = self.controls.requests();
        let members = [
            ("requests".to_owned(), Value::Array(requests)),
            ("forgotten".to_owned(), forgotten.into()),
        ];
        ok(&Map::from_iter(members).into())
    }

    fn expect(&self, body: &[u8]) -> Answer {
        let expected =
            super::body::read(body)
                .map_err(NotExpected::Json)
                .and_then(|expected: Expected| {
                    expected.check(C::KIND)?;
                    Ok(expected)
                });
        match expected {
            Ok(expected) => {
                self.controls.expect(&expected);
                done(Ok(()))
            }
            Err(error) => refusal(400, &error.to_string()),
        }
    }

    /// Whoever asks decides what to do with a failure, so that it is not an error of the request.
    fn verify(&self) -> Answer {
        let handle = self.controls.handle();
        let forgotten = handle.recorder().forgotten();
        ok(&json!({ "failures": handle.failures(), "forgotten": forgotten }))
    }

    async fn wait(&self, body: &[u8]) -> Answer {
        let wait = match super::body::read::<Wait>(body) {
            Ok(wait) => wait,
            Err(error) => return refusal(400, &format!("cannot read what to wait for: {error}")),
        };
        if !wait.names_something() {
            return refusal(400, "nothing is waited for; name requests, answers or idle");
        }
        let limit = wait.within.map_or(WAIT, |limit| limit.0);
        if !(Duration::from_millis(1)..=MAX_WAIT).contains(&limit) {
            return refusal(400, "within is a length from \"1ms\" to \"10m\"");
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        let enough = |counts: &Counts| {
            let requests = wait
                .requests
                .is_none_or(|it| counts.requests >= dropped + it);
            let answers = wait.answers.is_none_or(|it| counts.answers >= dropped + it);
            requests && answers && (!wait.idle || counts.in_flight == 0)
        };
        match self.controls.handle().wait_within(limit, enough).await {
            Ok(()) => done(Ok(())),
            Err(counts) => {
                let limit = humantime::format_duration(limit);
                refusal(
                    408,
                    &format!("waited {limit}, saw {counts} since the start"),
                )
            }
        }
    }

    async fn rotate(&self) -> Answer {
        match self.controls.rotate().await {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                refusal(404, &error.to_string())
            }
            rotated => done(rotated),
        }
    }

    async fn advance(&self, body: &[u8]) -> Answer {
        let advance = match super::body::read::<Advance>(body) {
            Ok(advance) => advance,
            Err(error) => {
                let message = format!("expected {{\"advance_seconds\": 3600}}: {error}");
                return refusal(400, &message);
            }
        };
        let now = self.clock.advance(advance.advance_seconds);
        match self.controls.catch_up().await {
            Ok(()) => ok(&json!({ "now": now })),
            Err(error) => done(Err(error)),
        }
    }

    /// As after the start: no requests, the system's time, a new token, no expectations and faults but those of the
    /// scenario, which begins again. Associations, roles and keys of the cluster stay.
    async fn reset(&self) -> io::Result<()> {
        self.clock.reset();
        self.forget_expectations();
        let faults = self.controls.service().faults();
        faults.clear();
        faults.forget();
        self.controls.reset().await?;
        self.forget_requests();
        Ok(())
    }

    fn forget_requests(&self) {
        let arrived = self.controls.handle().recorder().clear();
        self.dropped.store(arrived, Ordering::Relaxed);
    }

    fn forget_expectations(&self) {
        lock(&self.controls.handle().expectations).clear();
    }
}

fn cluster_route(
    cluster: &ClusterControls<'_>,
    method: &str,
    path: &str,
    segments: &[&str],
    body: &[u8],
) -> Answer {
    match (method, segments) {
        ("GET", ["associations"]) => ok(&cluster.associations()),
        ("POST", ["associations"]) => read("the association", cluster.associate(body)),
        ("DELETE", ["associations"]) => {
            cluster.clear_associations();
            done(Ok(()))
        }
        ("DELETE", ["associations", id]) => match cluster.dissociate(id) {
            true => done(Ok(())),
            false => refusal(404, &format!("there is no association {id}")),
        },
        ("GET", ["roles"]) => ok(&cluster.roles()),
        ("PUT", ["roles"]) => read("the role", cluster.put_role(body).map(|()| json!({}))),
        ("DELETE", ["roles"]) => {
            cluster.clear_roles();
            done(Ok(()))
        }
        ("GET", ["sessions", id]) => match cluster.session(id) {
            Some(session) => ok(&session),
            None => refusal(404, &format!("there is no session of {id}")),
        },
        ("PUT", ["visibility"]) => {
            let set = cluster.set_visibility(body);
            read("the visibility", set.map(|()| json!({})))
        }
        ("PUT", ["issuer"]) => {
            let changed = cluster.change_issuer(body);
            read("the change of the issuer", changed.map(|()| json!({})))
        }
        _ => no_route(method, path),
    }
}

fn is_of_cluster(segments: &[&str]) -> bool {
    let first = segments.first().copied().unwrap_or_default();
    ["associations", "roles", "sessions", "visibility", "issuer"].contains(&first)
}

fn has_route(method: &str, path: &str) -> bool {
    let mut routes = ROUTES.iter();
    routes.any(|(known, route)| *known == method && is_on(route, path))
}

/// Whether a path is one of a route, whose parameters are in braces.
fn is_on(route: &str, path: &str) -> bool {
    let (mut wanted, mut sent) = (route.split('/'), path.split('/'));
    loop {
        match (wanted.next(), sent.next()) {
            (None, None) => return true,
            (Some(wanted), Some(sent)) if wanted == sent || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// 405 with the methods that there are, if only the method is wrong.
fn no_route(method: &str, path: &str) -> Answer {
    let methods: Vec<&str> = ROUTES
        .iter()
        .filter(|(_, route)| is_on(route, path))
        .map(|(method, _)| *method)
        .collect();
    if methods.is_empty() {
        let known = ROUTES.map(|(method, path)| format!("{method} {path}"));
        let words = format!(
            "{method} {path} is nothing here; expected {}",
            known.join(", ")
        );
        return refusal(404, &words);
    }
    let methods = methods.join(", ");
    let mut answer = refusal(405, &format!("{path} takes {methods} only, not {method}"));
    let methods = HeaderValue::try_from(methods).expect("methods must be a header value");
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

/// Why a fault cannot be injected.
#[derive(Debug, thiserror::Error)]
enum NotInjected {
    #[error("cannot read the fault: {0}")]
    Json(serde_json::Error),
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// Why expectations are not accepted.
#[derive(Debug, thiserror::Error)]
enum NotExpected {
    #[error("cannot read the expectations: {0}")]
    Json(serde_json::Error),
    #[error(transparent)]
    Expected(#[from] ExpectedError),
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

/// What `/wait` is told: all of it has to be so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    requests: Option<usize>,
    answers: Option<usize>,
    #[serde(default)]
    idle: bool,
    within: Option<Span>,
}

impl Wait {
    /// A wait for nothing would be over at once, and the test would believe that it has waited.
    fn names_something(&self) -> bool {
        self.requests.is_some() || self.answers.is_some() || self.idle
    }
}

fn ok(body: &Value) -> Answer {
    answer::json(200, body.to_string())
}

/// What was made of a body that had to be read.
fn read(what: &str, made: Result<Value, serde_json::Error>) -> Answer {
    match made {
        Ok(body) => ok(&body),
        Err(error) => refusal(400, &format!("cannot read {what}: {error}")),
    }
}

fn done(done: io::Result<()>) -> Answer {
    match done {
        Ok(()) => answer::json(200, "{}".to_owned()),
        Err(error) => refusal(500, &format!("the mock cannot do that now: {error}")),
    }
}

fn refusal(status: u16, message: &str) -> Answer {
    let message = redaction::text(message);
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

/// Every route, as `openapi.json` has them.
const ROUTES: [(&str, &str); 28] = [
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/faults"),
    ("POST", "/faults"),
    ("DELETE", "/faults"),
    ("GET", "/gates"),
    ("POST", "/gates/{name}"),
    ("GET", "/requests"),
    ("DELETE", "/requests"),
    ("POST", "/expectations"),
    ("DELETE", "/expectations"),
    ("POST", "/verify"),
    ("POST", "/wait"),
    ("POST", "/rotate"),
    ("GET", "/clock"),
    ("POST", "/clock"),
    ("DELETE", "/clock"),
    ("POST", "/reset"),
    ("GET", "/associations"),
    ("POST", "/associations"),
    ("DELETE", "/associations"),
    ("DELETE", "/associations/{id}"),
    ("GET", "/roles"),
    ("PUT", "/roles"),
    ("DELETE", "/roles"),
    ("GET", "/sessions/{access_key_id}"),
    ("PUT", "/visibility"),
    ("PUT", "/issuer"),
];

const OPENAPI: &str = include_str!("../../openapi.json");
const MAX_BODY: usize = 64 * 1024;
const WAIT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    #[test]
    fn the_document_has_the_routes_that_there_are() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                let methods = methods.filter(|method| *method != "parameters");
                methods.map(|method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let there = ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned()));
        assert_eq!(documented, BTreeSet::from(there));
        assert_eq!(document["info"]["version"], VERSION.to_string());
    }

    #[test]
    fn the_document_has_the_members_of_a_fault_and_the_operations() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let members = schemas["Fault"]["properties"].as_object().unwrap();
        let members: BTreeSet<&str> = members.keys().map(String::as_str).collect();
        let requests = [
            "operation",
            "count",
            "nth",
            "always",
            "pod",
            "token",
            "after",
            "lasting",
            "until",
            "optional",
        ];
        // Closures and whole answers are for tests in Rust.
        let in_rust = ["answer", "respond"];
        let expected = Fault::MEMBERS.iter().copied().chain(requests);
        let expected = expected.filter(|member| !in_rust.contains(member));
        assert_eq!(members, expected.collect());
        let operations: Vec<&str> = Operation::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(schemas["Operation"]["enum"], json!(operations));
    }

    #[test]
    fn the_document_has_the_members_of_expectations() {
        let unknown = serde_json::from_str::<Expected>(r#"{"nonsense": 1}"#);
        let unknown = unknown.unwrap_err().to_string();
        let (_, known) = unknown.split_once("expected one of ").unwrap();
        let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
        let document = document();
        let members = &document["components"]["schemas"]["Expectations"]["properties"];
        let members = members.as_object().unwrap().keys();
        assert_eq!(members.map(String::as_str).collect::<BTreeSet<_>>(), known);
    }
}
