use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pod_identity_core::wire::eks_auth::{AssumeRoleRequest, AssumeRoleResponse, ErrorBody};
use pod_identity_core::{Clock, ServiceAccountToken, TokenDigest};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::answer::{self, Answer};
use crate::cluster::Cluster;
use crate::faults::Faults;
use crate::ids;
use crate::played::{Changes, Played};
use crate::recorder::{Outcome, Recorder};
use crate::server::Service;
use crate::{Fault, RecordedRequest, ServiceError};

/// EKS Auth behind its socket: records a request, plays its faults, then lets the cluster answer.
#[derive(Debug)]
pub(crate) struct EksAuthService {
    pub(crate) cluster: Cluster,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults<Fault>,
    pub(crate) recorder: Recorder<RecordedRequest>,
}

impl Service for EksAuthService {
    async fn serve(&self, stream: TcpStream) {
        let connection = self.recorder.connected();
        let answer = service_fn(|request| self.call(connection, request));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // How a connection ends is the client's affair, or was ordered by a fault.
        served.await.ok();
    }
}

impl EksAuthService {
    async fn call(
        &self,
        connection: u64,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Closed> {
        let (head, body) = request.into_parts();
        // A body that is too large or breaks off is as good as none: it is recorded, and refused.
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        let call = Call {
            cluster: cluster_in(head.uri.path()),
            request: serde_json::from_slice(&body).ok(),
            head: &head,
        };

        let recorded = self.recorded(connection, &call);
        let token = call.request.as_ref().map(|request| &request.token);
        let in_flight = self.recorder.arrived(recorded.clone(), token);
        let (mut answer, access_key_id) = match self.faults.play(&recorded).await {
            Played::Closed => return Err(Closed),
            Played::Answered(answer) => (answer, None),
            Played::Passed(changes) => self.answer(&call, &changes),
        };
        sign(answer.headers_mut());
        let outcome = Outcome {
            status: answer.status().as_u16(),
            code: text(
                answer.headers(),
                HeaderName::from_static("x-amzn-errortype"),
            ),
            access_key_id,
        };
        in_flight.answered(|request| request.outcome = Some(outcome));
        Ok(answer.map(|body| Full::new(Bytes::from(body))))
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

/// A request with what could be read of it.
struct Call<'a> {
    head: &'a Parts,
    cluster: Option<&'a str>,
    request: Option<AssumeRoleRequest>,
}

impl EksAuthService {
    fn recorded(&self, connection: u64, call: &Call<'_>) -> RecordedRequest {
        let head = call.head;
        let request = call.request.as_ref();
        let token = request.map(|request| request.token.expose());
        RecordedRequest {
            at: self.clock.now(),
            connection,
            method: head.method.to_string(),
            path: head.uri.to_string(),
            cluster: call.cluster.map(str::to_owned),
            host: text(&head.headers, HOST),
            user_agent: text(&head.headers, USER_AGENT),
            token: token.map(|token| TokenDigest::of(token.as_bytes())),
            claims: token
                .and_then(|token| ServiceAccountToken::parse(token).ok())
                .map(|token| token.claims().clone()),
            eks_node_name: request.and_then(|request| request.eks_node_name.clone()),
            instance_id: request.and_then(|request| request.instance_id.clone()),
            zone: request.and_then(|request| request.zone.clone()),
            outcome: None,
        }
    }

    /// The proper answer, and the access key id in it.
    fn answer(&self, call: &Call<'_>, changes: &Changes) -> (Answer, Option<String>) {
        let refused = |answer| (answer, None);
        let Some(cluster) = call.cluster.filter(|_| call.head.method == Method::POST) else {
            return refused(answer::error(
                404,
                "UnknownOperationException",
                "Unknown operation",
            ));
        };
        if !is_signed(&call.head.headers) {
            return refused(answer::error(
                403,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ));
        }
        self.assume_role(cluster, call.request.as_ref(), changes)
            .map_or_else(
                |error| refused(error.answer()),
                |(answer, key)| (answer, Some(key)),
            )
    }

    fn assume_role(
        &self,
        cluster: &str,
        request: Option<&AssumeRoleRequest>,
        changes: &Changes,
    ) -> Result<(Answer, String), ServiceError> {
        let response = self.grant(cluster, request, changes.expires_in)?;
        let body = match changes.without {
            None => serde_json::to_string(&response),
            Some(member) => {
                serde_json::to_value(&response).map(|body| without(body, member).to_string())
            }
        };
        let body = body.expect("a response must serialize");
        Ok((answer::json(200, body), response.credentials.access_key_id))
    }

    /// What the cluster says, without the socket and its faults; what it mints is recorded.
    pub(crate) fn grant(
        &self,
        cluster: &str,
        request: Option<&AssumeRoleRequest>,
        lifetime: Option<Duration>,
    ) -> Result<AssumeRoleResponse, ServiceError> {
        let now = self.clock.now();
        let response = self.cluster.assume_role(cluster, request, lifetime, now)?;
        let credentials = &response.credentials;
        let secrets = [&credentials.secret_access_key, &credentials.session_token];
        self.recorder
            .minted(credentials.access_key_id.clone(), secrets.map(Clone::clone));
        Ok(response)
    }
}

/// The cluster in `/clusters/{name}/assume-role-for-pod-identity`.
fn cluster_in(path: &str) -> Option<&str> {
    let name = path
        .strip_prefix("/clusters/")?
        .strip_suffix("/assume-role-for-pod-identity")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Whether there is a signature at all; whether it is right is not checked.
fn is_signed(headers: &HeaderMap) -> bool {
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    authorization.is_some_and(|value| value.starts_with(b"AWS4-HMAC-SHA256"))
}

/// Gives an answer its request id, unless a fault gave it one.
fn sign(headers: &mut HeaderMap) {
    let id = HeaderValue::try_from(ids::uuid(&mut fastrand::Rng::new()));
    headers
        .entry(ErrorBody::REQUEST_ID_HEADER)
        .or_insert(id.expect("a UUID must be a header value"));
}

/// `body` without the member at a path joined by dots.
fn without(mut body: Value, path: &str) -> Value {
    let (parent, member) = match path.rsplit_once('.') {
        Some((parent, member)) => (format!("/{}", parent.replace('.', "/")), member),
        None => (String::new(), path),
    };
    let parent = body.pointer_mut(&parent).and_then(Value::as_object_mut);
    let removed = parent.and_then(|parent| parent.remove(member));
    assert!(
        removed.is_some(),
        "Fault::Without({path:?}) must name a member of a success"
    );
    body
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Ten times the largest real request.
const MAX_BODY: usize = 32 * 1024;
