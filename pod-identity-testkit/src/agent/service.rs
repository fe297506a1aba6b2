use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{HOST, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use pod_identity_core::wire::agent::{self, AllowedHosts, Refusal};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{
    Clock, Credentials, Secret, ServiceAccountToken, Timestamp, TokenBucket, TokenDigest,
};

use crate::agent::body::SuccessBody;
use crate::agent::official;
use crate::agent::refused::refused;
use crate::fault::error::FaultError;
use crate::fault::fault::Fault;
use crate::fault::faults::Faults;
use crate::fault::field_defect::Field;
use crate::fault::queue::FaultQueue;
use crate::http::answer::{self, AccessKeyId, Answer};
use crate::http::connection::Bodies;
use crate::http::gates::Gates;
use crate::http::request::Request;
use crate::http::request_head::RequestHead;
use crate::mock::action::Action;
use crate::mock::mock::Mock;
use crate::record::recorder::Recorder;
use crate::record::redaction;
use crate::sync::lock;
use crate::token::pod_token::PodToken;
use crate::{
    AgentMode, AgentRequest, CredentialSource, Issuer, Operation, ServiceError, TokenPolicy,
};

/// The node agent behind its socket.
#[derive(Debug)]
pub(crate) struct AgentService {
    pub(crate) mode: AgentMode,
    pub(crate) hosts: AllowedHosts,
    /// Those besides the official two, for [`AgentMode::Official`].
    pub(crate) exact_hosts: Vec<String>,
    pub(crate) policy: TokenPolicy,
    pub(crate) source: CredentialSource,
    pub(crate) token: PodToken,
    /// Mints the token, unless the test has a builder of its own.
    pub(crate) issuer: Issuer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limiter: Option<Mutex<TokenBucket>>,
    pub(crate) faults: FaultQueue,
    pub(crate) gates: Gates,
    pub(crate) recorder: Recorder<AgentRequest>,
    /// The credentials of the last success, for `same_again`.
    pub(crate) last: Mutex<Option<Credentials>>,
}

impl Mock for AgentService {
    type Call = ();
    type Record = AgentRequest;

    const NAME: &'static str = "mock agent";

    /// It does not read bodies.
    const MAX_BODY: usize = 0;

    fn check(fault: &Fault) -> Result<(), FaultError> {
        if fault.without.is_some() {
            return Err(FaultError::EksAuthOnly);
        }
        if fault.operation.is_some() {
            return Err(FaultError::OneOperation);
        }
        if let Some(name) = &fault.error {
            ErrorCode::from_name(name).ok_or_else(|| FaultError::Error(name.clone()))?;
        }
        if let Some(name) = fault.fields.keys().find(|name| !is_member(name)) {
            return Err(FaultError::Member {
                name: name.clone(),
                success: "the agent's success",
                known: Field::ALL.map(Field::name).join(", "),
            });
        }
        match fault.retry_after {
            Some(time) if time.0.subsec_nanos() != 0 => Err(FaultError::PartsOfSeconds),
            _ => Ok(()),
        }
    }

    fn bodies(&self) -> Bodies {
        match self.mode {
            AgentMode::Ours => Bodies::Read {
                max: Self::MAX_BODY,
            },
            // As Go's `net/http` does with what a handler has not read.
            AgentMode::Official => Bodies::Skipped { max: 256 * 1024 },
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn gates(&self) -> &Gates {
        &self.gates
    }

    fn recorder(&self) -> &Recorder<AgentRequest> {
        &self.recorder
    }

    fn queue(&self, _only: Option<Operation>) -> &FaultQueue {
        &self.faults
    }

    fn queue_of(&self, _any: &AgentRequest) -> &FaultQueue {
        &self.faults
    }

    fn faults(&self) -> &dyn Faults {
        &self.faults
    }

    fn read(&self, request: &Request) -> Result<(), &'static str> {
        match self.mode {
            AgentMode::Ours => Ok(()),
            AgentMode::Official => official::check_head(&request.head),
        }
    }

    fn record(
        &self,
        connection: u64,
        (): &(),
        request: &Request,
    ) -> (AgentRequest, Option<Secret>) {
        let head = &request.head;
        let token = head.authorization();
        let text = token.as_ref().map(Secret::expose).unwrap_or_default();
        let digest = |text: &str| TokenDigest::of(text.as_bytes());
        let (bearer_prefix, bare) = match text.split_at_checked(BEARER.len()) {
            Some((prefix, bare)) if prefix.eq_ignore_ascii_case(BEARER) => (true, bare),
            _ => (false, text),
        };
        let record = AgentRequest {
            at: self.clock.now(),
            connection,
            method: redaction::text(&head.method),
            path: redaction::target(&head.target),
            host: head.host().as_deref().map(redaction::text),
            headers: head.headers.clone(),
            token: token.as_ref().map(|token| digest(token.expose())),
            bearer_prefix,
            token_age: self.token.age(digest(bare)),
            rotations: self.token.rotations(),
            in_flight: 0,
            claims: ServiceAccountToken::parse(bare)
                .ok()
                .map(|token| token.claims().clone()),
            outcome: None,
        };
        (record, token)
    }

    fn refuse(&self, _record: &AgentRequest, fault: &Fault) -> Option<Answer> {
        if let Some(name) = &fault.error {
            let code = ErrorCode::from_name(name).expect("a fault must have been checked");
            let error = ServiceError::new(code);
            let error = match &fault.message {
                Some(message) => error.message(message.0.clone()),
                None => error,
            };
            return Some(refused(&error.into()));
        }
        if fault.malformed {
            return Some(answer::json(200, "{\"AccessKeyId\":\"ASIA"));
        }
        let status = fault.status?;
        Some(match &fault.text {
            Some(text) => answer::text(status, &text.0),
            None => official(status),
        })
    }

    async fn answer(
        &self,
        (): &(),
        request: &Request,
        record: &mut AgentRequest,
        fault: &Fault,
    ) -> Answer {
        match self.grant(request, record, fault) {
            Ok(credentials) => {
                let mut answer = answer::json(200, success(&credentials, fault));
                let id = credentials.access_key_id().to_owned();
                answer.extensions_mut().insert(AccessKeyId(id));
                answer
            }
            Err(refusal) => *refusal,
        }
    }

    fn finish(&self, answer: &mut Answer) {
        if self.mode == AgentMode::Official {
            answer::date(answer, self.clock.now());
        }
    }

    fn retry_after(time: Duration) -> (HeaderName, HeaderValue) {
        (RETRY_AFTER, HeaderValue::from(time.as_secs()))
    }

    fn apply(&self, action: &Action, at: Timestamp) -> io::Result<()> {
        match action {
            Action::Rotate => drop(self.token.rotate(at)?),
            Action::Spoil(defect) => self.token.volume().spoil(*defect)?,
            Action::SignWith(key) => self.issuer.sign_with(*key),
            Action::ForgetOldKeys => self.issuer.forget_old_keys(),
            _ => {}
        }
        Ok(())
    }
}

impl AgentService {
    fn grant(
        &self,
        request: &Request,
        record: &AgentRequest,
        fault: &Fault,
    ) -> Result<Credentials, Box<Answer>> {
        let now = self.clock.now();
        if self.mode == AgentMode::Official
            && let Some(answer) = official::before_the_handler(&request.head)
        {
            return Err(Box::new(answer));
        }
        if let Some(limiter) = &self.limiter
            && !lock(limiter).try_take(now)
        {
            return Err(Box::new(refused(&Refusal::TooManyRequests)));
        }
        match self.mode {
            AgentMode::Ours => self.check_request(&request.head),
            AgentMode::Official => official::check_host(&request.head, &self.exact_hosts)
                .map_err(|refusal| refused(&refusal).into()),
        }?;
        let token = request.head.authorization();
        let token = token.unwrap_or_else(|| Secret::from(String::new()));
        // The age now, not on arrival: the token may have been rotated while the request was held up.
        let age = record.token.and_then(|token| self.token.age(token));
        self.policy.check(self.mode, token.expose(), age, now)?;
        let credentials = self.credentials(fault, record, &token, now);
        let credentials = credentials.map_err(|refusal| Box::new(refused(&refusal)))?;
        self.recorder.minted(
            credentials.access_key_id().to_owned(),
            [
                credentials.secret_access_key().clone(),
                credentials.session_token().clone(),
            ],
        );
        Ok(credentials)
    }

    /// What this project's agent refuses before it looks at the token.
    fn check_request(&self, head: &RequestHead) -> Result<(), Box<Answer>> {
        let target = Uri::try_from(head.target.as_str()).unwrap_or_default();
        if target.path() != agent::PATH {
            return Err(Box::new(refused(&Refusal::NotFound)));
        }
        if head.method != Method::GET.as_str() {
            return Err(Box::new(refused(&Refusal::MethodNotAllowed)));
        }
        let mut headers = head.headers.get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(bad_request("too many Host headers"));
        }
        // HTTP/1.0 has no such header.
        if header.is_none() && !head.is_http_1_0 {
            return Err(bad_request("missing required Host header"));
        }
        let host = match target.host() {
            Some(host) => host,
            None => header
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
        };
        let checked = self.hosts.check(host);
        checked.map_err(|refusal| Box::new(refused(&refusal)))
    }

    fn credentials(
        &self,
        fault: &Fault,
        record: &AgentRequest,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Credentials, Refusal> {
        let again = lock(&self.last).clone().filter(|_| fault.same_again);
        let credentials = match again {
            Some(credentials) => credentials,
            None => self.source.grant(record, token, now)?,
        };
        let credentials = match fault.expiry(now) {
            Some(expiry) => expiring(&credentials, expiry),
            None => {
                let left = credentials.expiration().as_unix_millis() - now.as_unix_millis();
                if left <= LEAST_LIFE_MILLIS {
                    return Err(Refusal::Expiring { millis_left: left });
                }
                credentials
            }
        };
        *lock(&self.last) = Some(credentials.clone());
        Ok(credentials)
    }
}

/// As this project's agent refuses a request for its `Host` headers themselves.
fn bad_request(reason: &str) -> Box<Answer> {
    let message = format_args!("400 Bad Request: {reason}");
    Box::new(answer::text(400, message))
}

/// The official agent's answer with a status, if it uses the status; else the status's own name.
fn official(status: u16) -> Answer {
    let eks_auth = |code: ErrorCode| refused(&ServiceError::from(code).into());
    match status {
        400 => eks_auth(ErrorCode::AccessDenied),
        403 => refused(&Refusal::HostNotAllowed {
            host: "localhost".to_owned(),
        }),
        404 => eks_auth(ErrorCode::ResourceNotFound),
        405 => refused(&Refusal::MethodNotAllowed),
        429 => refused(&Refusal::TooManyRequests),
        500 => eks_auth(ErrorCode::InternalServer),
        503 => eks_auth(ErrorCode::ServiceUnavailable),
        _ => {
            let name = StatusCode::from_u16(status).ok();
            let name = name.and_then(|status| status.canonical_reason());
            answer::text(status, name.unwrap_or("no words"))
        }
    }
}

fn is_member(name: &str) -> bool {
    Field::ALL.iter().any(|field| field.name() == name)
}

/// The body of a success.
fn success(credentials: &Credentials, fault: &Fault) -> Vec<u8> {
    let mut body = SuccessBody::new(credentials);
    if let Some(format) = fault.expiration {
        body.write_expiration(credentials.expiration(), format);
    }
    for (name, defect) in &fault.fields {
        body.spoil(name, defect);
    }
    body.to_bytes()
}

fn expiring(credentials: &Credentials, expiration: Timestamp) -> Credentials {
    let changed = Credentials::new(
        credentials.access_key_id(),
        credentials.secret_access_key().clone(),
        credentials.session_token().clone(),
        expiration,
    );
    match credentials.account_id() {
        Some(account) => changed.with_account_id(account),
        None => changed,
    }
}

const BEARER: &str = "Bearer ";

/// The official agent does not serve credentials that expire within 15 s.
const LEAST_LIFE_MILLIS: i64 = 15_000;
