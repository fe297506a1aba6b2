use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pod_identity_core::wire::eks_auth::{
    AssumeRoleRequest, AssumeRoleResponse, ErrorBody, ErrorCode,
};
use pod_identity_core::{Clock, ServiceAccountToken};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::eks::call::{Call, text};
use crate::eks::cluster::Cluster;
use crate::eks::control_plane::associations_api::AssociationsApi;
use crate::eks::discovery::discovery;
use crate::eks::operation_faults::AllFaults;
use crate::eks::played::{Changes, Played};
use crate::eks::sigv4::check::{Dialect, Keys, Scope, SignatureCheck, SignatureError};
use crate::eks::sts::Sts;
use crate::eks::throttle::Throttle;
use crate::http::answer::{self, Answer, ErrorCodeOf};
use crate::http::recorder::{Outcome, Recorder};
use crate::http::server::Service;
use crate::token::ids;
use crate::{Operation, RecordedRequest, ServiceError};

/// EKS Auth, the associations API, `GetCallerIdentity` and the issuer's documents behind one socket:
/// records a request, plays its faults, then lets the service that is meant answer.
#[derive(Debug)]
pub(crate) struct EksAuthService {
    pub(crate) cluster: Cluster,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: AllFaults,
    pub(crate) recorder: Recorder<RecordedRequest>,
    pub(crate) keys: Keys,
    pub(crate) signatures: SignatureCheck,
    pub(crate) throttle: Throttle,
    /// Whether the issuer's documents cannot be had.
    pub(crate) issuer_is_down: AtomicBool,
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

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

/// What was answered, and what there is to note of it.
struct Replied {
    answer: Answer,
    access_key_id: Option<String>,
    signature_error: Option<SignatureError>,
}

impl EksAuthService {
    async fn call(
        &self,
        connection: u64,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Closed> {
        let call = Call::read(request).await;
        let recorded = call.recorded(connection, self.clock.now());
        let token = call.request.as_ref().map(|request| &request.token);
        let in_flight = self.recorder.arrived(recorded.clone(), token);
        let faults = self.faults.of(recorded.operation);
        let mut replied = match faults.play(&recorded).await {
            Played::Closed => return Err(Closed),
            Played::Answered(answer) => Replied::from(answer),
            Played::Passed(changes) => self.answer(&call, &changes).with(&changes),
        };
        identify(replied.answer.headers_mut());
        let outcome = replied.outcome();
        in_flight.answered(|request| {
            request.outcome = Some(outcome);
            request.signature_error = replied.signature_error;
        });
        Ok(replied.answer.map(|body| Full::new(Bytes::from(body))))
    }

    /// The proper answer.
    fn answer(&self, call: &Call, changes: &Changes) -> Replied {
        match call.route.operation {
            Operation::Unknown => Replied::from(unknown_operation()),
            operation @ (Operation::OpenIdConfiguration | Operation::JsonWebKeySet) => {
                Replied::from(self.document(operation, call))
            }
            Operation::GetCallerIdentity => self.identity(call),
            Operation::AssumeRoleForPodIdentity => self.signed("eks-auth", call, || {
                self.assume_role(call, changes).map_or_else(
                    |error| Replied::from(error.answer(call.route.operation)),
                    |(answer, key)| Replied {
                        access_key_id: Some(key),
                        ..Replied::from(answer)
                    },
                )
            }),
            _ => self.signed("eks", call, || Replied::from(self.manage(call))),
        }
    }

    fn document(&self, operation: Operation, call: &Call) -> Answer {
        if self.issuer_is_down.load(Ordering::Relaxed) {
            return answer::bare(503, String::new());
        }
        discovery(operation, &self.cluster.issuer, &call.head)
    }

    fn identity(&self, call: &Call) -> Replied {
        let sts = Sts {
            keys: &self.keys,
            account: &self.cluster.account,
            timely: self.signatures == SignatureCheck::Enforce,
            now: self.clock.now(),
        };
        let (answer, signature_error) = sts.call(&call.head, &call.body);
        Replied {
            signature_error,
            ..Replied::from(answer)
        }
    }

    /// What `reply` says if the signature is good enough.
    fn signed(
        &self,
        service: &'static str,
        call: &Call,
        reply: impl FnOnce() -> Replied,
    ) -> Replied {
        let error = self.check_signature(service, call).err();
        let refused = match &error {
            Some(SignatureError::Missing) => true,
            Some(_) => self.signatures == SignatureCheck::Enforce,
            None => false,
        };
        let replied = match &error {
            Some(error) if refused => {
                let code = error.code(Dialect::RestJson);
                Replied::from(answer::error(error.status(), code, &error.to_string()))
            }
            _ => reply(),
        };
        Replied {
            signature_error: error,
            ..replied
        }
    }

    fn check_signature(&self, service: &'static str, call: &Call) -> Result<(), SignatureError> {
        if self.signatures == SignatureCheck::Off {
            return is_signed(&call.head.headers)
                .then_some(())
                .ok_or(SignatureError::Missing);
        }
        let scope = Scope {
            service,
            region: Some(&self.cluster.region),
            timely: true,
        };
        let now = self.clock.now();
        self.keys
            .signer(scope, &call.head, &call.body, now)
            .map(drop)
    }

    fn manage(&self, call: &Call) -> Answer {
        let api = AssociationsApi {
            cluster: &self.cluster,
            now: self.clock.now(),
        };
        let query = call.head.uri.query().unwrap_or_default();
        match api.call(&call.route, query, &call.body) {
            Ok(body) => answer::json(200, body),
            Err(error) => error.answer(call.route.operation),
        }
    }

    fn assume_role(
        &self,
        call: &Call,
        changes: &Changes,
    ) -> Result<(Answer, String), ServiceError> {
        let cluster = call.route.cluster.as_deref().unwrap_or_default();
        let request = call.request.as_ref();
        let node = node_of(request);
        if !self.throttle.allows(node.as_deref(), self.clock.now()) {
            return Err(ErrorCode::Throttling.into());
        }
        let response = self.grant(cluster, request, changes.expires_in)?;
        let body = serde_json::to_string(&response).expect("a response must serialize");
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
        let (response, minted) = self.cluster.assume_role(cluster, request, lifetime, now)?;
        self.keys.sessions.put(minted);
        let credentials = &response.credentials;
        let secrets = [&credentials.secret_access_key, &credentials.session_token];
        self.recorder
            .minted(credentials.access_key_id.clone(), secrets.map(Clone::clone));
        Ok(response)
    }
}

impl From<Answer> for Replied {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            access_key_id: None,
            signature_error: None,
        }
    }
}

impl Replied {
    /// Without the member that a fault takes from a success.
    fn with(self, changes: &Changes) -> Self {
        match changes.without {
            Some(member) if self.answer.status().is_success() => Self {
                answer: self.answer.map(|body| without(&body, member)),
                ..self
            },
            _ => self,
        }
    }

    fn outcome(&mut self) -> Outcome {
        let header = HeaderName::from_static("x-amzn-errortype");
        let code = self.answer.extensions().get::<ErrorCodeOf>();
        Outcome {
            status: self.answer.status().as_u16(),
            code: code
                .map(|code| code.0.to_owned())
                .or_else(|| text(self.answer.headers(), header)),
            access_key_id: self.access_key_id.take(),
        }
    }
}

fn unknown_operation() -> Answer {
    answer::error(404, "UnknownOperationException", "Unknown operation")
}

/// Whether there is a signature at all; whether it is right is not checked.
fn is_signed(headers: &HeaderMap) -> bool {
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    authorization.is_some_and(|value| value.starts_with(b"AWS4-HMAC-SHA256"))
}

/// The node that asks, as it says itself.
fn node_of(request: Option<&AssumeRoleRequest>) -> Option<String> {
    let request = request?;
    let named = request.eks_node_name.clone();
    named.or_else(|| request.instance_id.clone()).or_else(|| {
        let token = ServiceAccountToken::parse(request.token.expose()).ok()?;
        token.claims().node.clone().map(String::from)
    })
}

/// Gives an answer its request id, unless it has one.
fn identify(headers: &mut HeaderMap) {
    let id = HeaderValue::try_from(ids::uuid(&mut fastrand::Rng::new()));
    headers
        .entry(ErrorBody::REQUEST_ID_HEADER)
        .or_insert(id.expect("a UUID must be a header value"));
}

/// `body` without the member at a path joined by dots.
fn without(body: &str, path: &str) -> String {
    // What is not JSON has no members.
    let mut body = serde_json::from_str(body).unwrap_or(Value::Null);
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
    body.to_string()
}
