use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use pod_identity_core::wire::eks_auth::{
    AssumeRoleRequest, AssumeRoleResponse, ErrorBody, ErrorCode,
};
use pod_identity_core::{Clock, Secret, ServiceAccountToken, Timestamp};

use crate::eks::account::Account;
use crate::eks::call::Call;
use crate::eks::cluster::Cluster;
use crate::eks::control_plane::api;
use crate::eks::discovery::discovery;
use crate::eks::faults;
use crate::eks::granted::Granted;
use crate::eks::sigv4::check::{Dialect, Keys, Scope, SignatureCheck, SignatureError};
use crate::eks::sts::Sts;
use crate::eks::throttle::Throttle;
use crate::eks::unknown;
use crate::fault::change::change;
use crate::fault::error::FaultError;
use crate::fault::fault_queues::FaultQueues;
use crate::fault::faults::Faults;
use crate::fault::queue::FaultQueue;
use crate::http::answer::{self, AccessKeyId, Answer};
use crate::http::gates::Gates;
use crate::http::request::Request;
use crate::mock::action::Action;
use crate::mock::mock::Mock;
use crate::record::recorder::Recorder;
use crate::token::ids;
use crate::{Fault, Operation, RecordedRequest, ServiceError};

/// EKS Auth, the associations API, `GetCallerIdentity` and the issuer's documents behind one socket:
/// the service that an operation belongs to answers.
#[derive(Debug)]
pub(crate) struct EksAuthService {
    pub(crate) cluster: Cluster,
    /// Mints the credentials, if it is not the mock that does.
    pub(crate) account: Option<Box<dyn Account>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: FaultQueues,
    pub(crate) gates: Gates,
    pub(crate) recorder: Recorder<RecordedRequest>,
    pub(crate) keys: Keys,
    pub(crate) signatures: SignatureCheck,
    pub(crate) throttle: Throttle,
    /// Whether the issuer's documents are unavailable. It guards no other data, so relaxed order is enough.
    pub(crate) issuer_is_down: AtomicBool,
}

impl Mock for EksAuthService {
    type Call = Call;
    type Record = RecordedRequest;

    const NAME: &'static str = "mock of EKS Auth";

    /// Ten times the largest real request.
    const MAX_BODY: usize = 32 * 1024;

    fn check(fault: &Fault) -> Result<(), FaultError> {
        faults::check(fault)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn gates(&self) -> &Gates {
        &self.gates
    }

    fn recorder(&self) -> &Recorder<RecordedRequest> {
        &self.recorder
    }

    fn queue(&self, operation: Option<Operation>) -> &FaultQueue {
        let operation = operation.unwrap_or(Operation::AssumeRoleForPodIdentity);
        self.faults.of(operation)
    }

    fn queue_of(&self, record: &RecordedRequest) -> &FaultQueue {
        self.faults.of(record.operation)
    }

    fn faults(&self) -> &dyn Faults {
        &self.faults
    }

    fn read(&self, request: &Request) -> Result<Call, &'static str> {
        Call::read(request).ok_or("")
    }

    fn record(
        &self,
        connection: u64,
        call: &Call,
        _request: &Request,
    ) -> (RecordedRequest, Option<Secret>) {
        let token = call.request.as_ref().map(|request| request.token.clone());
        let record = RecordedRequest {
            is_verified: match call.route.operation {
                Operation::GetCallerIdentity => true,
                Operation::OpenIdConfiguration | Operation::JsonWebKeySet | Operation::Unknown => {
                    false
                }
                _ => self.signatures != SignatureCheck::Off,
            },
            ..call.recorded(connection, self.clock.now())
        };
        (record, token)
    }

    fn refuse(&self, record: &RecordedRequest, fault: &Fault) -> Option<Answer> {
        faults::answer(record.operation, fault)
    }

    async fn answer(
        &self,
        call: &Call,
        _request: &Request,
        record: &mut RecordedRequest,
        fault: &Fault,
    ) -> Answer {
        let replied = self.reply(call, fault).await;
        record.signature_error = replied.signature_error;
        match replied.answer.status().is_success() {
            true => change(replied.answer, fault),
            false => replied.answer,
        }
    }

    fn finish(&self, answer: &mut Answer) {
        identify(answer.headers_mut());
        answer::date(answer, self.clock.now());
    }

    fn retry_after(time: Duration) -> (HeaderName, HeaderValue) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let name = HeaderName::from_static(ErrorBody::RETRY_AFTER_HEADER);
        (name, HeaderValue::from(millis))
    }

    fn apply(&self, action: &Action, _at: Timestamp) -> io::Result<()> {
        match action {
            Action::SignWith(key) => self.cluster.issuer.sign_with(*key),
            Action::ForgetOldKeys => self.cluster.issuer.forget_old_keys(),
            Action::IssuerOutage(is_down) => {
                // It guards no other data.
                self.issuer_is_down.store(*is_down, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The answer, and the error of the signature.
struct Replied {
    answer: Answer,
    signature_error: Option<SignatureError>,
}

impl EksAuthService {
    /// Returns the normal answer.
    async fn reply(&self, call: &Call, fault: &Fault) -> Replied {
        match call.route.operation {
            Operation::Unknown => Replied::from(unknown::answer(call)),
            operation @ (Operation::OpenIdConfiguration | Operation::JsonWebKeySet) => {
                Replied::from(self.document(operation, call))
            }
            Operation::GetCallerIdentity => self.identity(call),
            Operation::AssumeRoleForPodIdentity => {
                let reply = async {
                    let answer = self.assume_role(call, fault).await;
                    answer.unwrap_or_else(|error| error.redacted().answer(call.route.operation))
                };
                self.signed("eks-auth", call, reply).await
            }
            _ => {
                let reply = async { self.manage(call) };
                self.signed("eks", call, reply).await
            }
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

    /// Returns the answer of `reply` if the signature passes its check.
    async fn signed(
        &self,
        service: &'static str,
        call: &Call,
        reply: impl Future<Output = Answer> + Send,
    ) -> Replied {
        let error = self.check_signature(service, call).err();
        let refused = match &error {
            Some(SignatureError::Missing) => true,
            Some(_) => self.signatures == SignatureCheck::Enforce,
            None => false,
        };
        let answer = match &error {
            Some(error) if refused => {
                let code = error.code(Dialect::RestJson);
                answer::error(error.status(), code, &error.to_string())
            }
            _ => reply.await,
        };
        Replied {
            answer,
            signature_error: error,
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
        let query = call.head.uri.query().unwrap_or_default();
        match api::call(
            &self.cluster,
            self.clock.now(),
            &call.route,
            query,
            &call.body,
        ) {
            Ok(body) => answer::json(200, body),
            Err(error) => error.redacted().answer(call.route.operation),
        }
    }

    async fn assume_role(&self, call: &Call, fault: &Fault) -> Result<Answer, ServiceError> {
        let cluster = call.route.cluster.as_deref().unwrap_or_default();
        let request = call.request.as_ref();
        let now = self.clock.now();
        if !self.throttle.allows(node_of(request).as_deref(), now) {
            return Err(ErrorCode::Throttling.into());
        }
        let mut granted = self
            .cluster
            .assume_role(cluster, request, fault.expiry(now), now)?;
        if let Some(account) = &self.account {
            granted.assumed(account.assume(&granted).await?);
        }
        let response = self.remember(granted);
        let body = serde_json::to_string(&response).expect("a response must serialize");
        let mut answer = answer::json(200, body);
        let id = AccessKeyId(response.credentials.access_key_id);
        answer.extensions_mut().insert(id);
        Ok(answer)
    }

    /// Exchanges a token without the socket, its faults and a real account. Records the minted credentials.
    pub(crate) fn grant(
        &self,
        cluster: &str,
        request: Option<&AssumeRoleRequest>,
        expiry: Option<Timestamp>,
    ) -> Result<AssumeRoleResponse, ServiceError> {
        let now = self.clock.now();
        let granted = self.cluster.assume_role(cluster, request, expiry, now)?;
        Ok(self.remember(granted))
    }

    fn remember(&self, granted: Granted) -> AssumeRoleResponse {
        self.keys.sessions.put(granted.minted(), self.clock.now());
        let credentials = &granted.response.credentials;
        let secrets = [&credentials.secret_access_key, &credentials.session_token];
        self.recorder
            .minted(credentials.access_key_id.clone(), secrets.map(Clone::clone));
        granted.response
    }
}

impl From<Answer> for Replied {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            signature_error: None,
        }
    }
}

/// Whether there is a signature at all; whether it is right is not checked.
fn is_signed(headers: &HeaderMap) -> bool {
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    authorization.is_some_and(|value| value.starts_with(b"AWS4-HMAC-SHA256"))
}

/// Returns the node that sent the request, as the request names it.
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
