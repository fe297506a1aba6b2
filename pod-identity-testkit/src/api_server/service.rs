use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use pod_identity_core::{Clock, Secret, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::api_server::call::Call;
use crate::api_server::faults;
use crate::api_server::objects::Objects;
use crate::api_server::request::ApiServerRequest;
use crate::api_server::service_account::ServiceAccount;
use crate::api_server::status::{Reason, Status};
use crate::fault::change::change;
use crate::fault::error::FaultError;
use crate::fault::fault_queues::FaultQueues;
use crate::fault::faults::Faults;
use crate::fault::queue::FaultQueue;
use crate::http::answer::{self, Answer};
use crate::http::gates::Gates;
use crate::http::request::Request;
use crate::http::stream::Stream;
use crate::mock::action::Action;
use crate::mock::mock::Mock;
use crate::record::recorder::Recorder;
use crate::record::redaction;
use crate::sync::lock;
use crate::{Fault, Issuer, Operation};

/// The API server behind its socket.
pub(crate) struct ApiServerService {
    pub(crate) issuer: Issuer,
    /// Such as `v1.34.1`.
    pub(crate) version: Mutex<String>,
    pub(crate) objects: Mutex<Objects>,
    pub(crate) account: ServiceAccount,
    pub(crate) tls: TlsAcceptor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: FaultQueues,
    pub(crate) gates: Gates,
    pub(crate) recorder: Recorder<ApiServerRequest>,
}

impl Mock for ApiServerService {
    type Call = Call;
    type Record = ApiServerRequest;

    const NAME: &'static str = "mock of an API server";

    /// Room for a patch of a node.
    const MAX_BODY: usize = 64 * 1024;

    fn check(fault: &Fault) -> Result<(), FaultError> {
        faults::check(fault)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn gates(&self) -> &Gates {
        &self.gates
    }

    fn recorder(&self) -> &Recorder<ApiServerRequest> {
        &self.recorder
    }

    async fn open(&self, stream: TcpStream) -> Option<Box<dyn Stream>> {
        let stream = self.tls.accept(stream).await.ok()?;
        Some(Box::new(stream))
    }

    fn queue(&self, operation: Option<Operation>) -> &FaultQueue {
        self.faults.of(operation.unwrap_or(Operation::Unknown))
    }

    fn queue_of(&self, record: &ApiServerRequest) -> &FaultQueue {
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
    ) -> (ApiServerRequest, Option<Secret>) {
        let recorded = call.recorded(connection, self.clock.now());
        (recorded, call.token.clone())
    }

    fn refuse(&self, _record: &ApiServerRequest, fault: &Fault) -> Option<Answer> {
        faults::answer(fault)
    }

    async fn answer(
        &self,
        call: &Call,
        _request: &Request,
        _record: &mut ApiServerRequest,
        fault: &Fault,
    ) -> Answer {
        match self.reply(call) {
            Ok(answer) => change(answer, fault),
            Err(status) => status.redacted().answer(),
        }
    }

    fn finish(&self, _answer: &mut Answer) {}

    fn retry_after(time: Duration) -> (HeaderName, HeaderValue) {
        (RETRY_AFTER, HeaderValue::from(time.as_secs()))
    }

    fn apply(&self, action: &Action, _at: Timestamp) -> io::Result<()> {
        match action {
            Action::SignWith(key) => self.issuer.sign_with(*key),
            Action::ForgetOldKeys => self.issuer.forget_old_keys(),
            _ => {}
        }
        Ok(())
    }
}

impl ApiServerService {
    fn reply(&self, call: &Call) -> Result<Answer, Status> {
        self.admit(call)?;
        match call.operation {
            Operation::GetVersion => Ok(json_answer(&self.version())),
            Operation::OpenIdConfiguration => Ok(json_answer(&self.open_id_configuration(call))),
            Operation::JsonWebKeySet => Ok(self.keys(call)),
            Operation::ListPods => {
                let selection = call.selection()?;
                let objects = lock(&self.objects);
                Ok(json_answer(&objects.pods.list(&selection, objects.version)))
            }
            Operation::WatchPods => {
                let (first, feed) = lock(&self.objects).pods.watch(call.watch_options()?);
                let mut answer = answer::json(200, first);
                answer.extensions_mut().insert(feed);
                Ok(answer)
            }
            Operation::GetNode => {
                let name = call.name.as_deref().unwrap_or_default();
                lock(&self.objects).node(name).map(json_answer)
            }
            Operation::PatchNode => {
                let name = call.name.as_deref().unwrap_or_default();
                let content_type = call.content_type.as_deref().unwrap_or_default();
                let mut objects = lock(&self.objects);
                let patched = objects.patch_node(name, content_type, call.body.as_bytes())?;
                Ok(json_answer(&patched))
            }
            _ => {
                let message = "the server could not find the requested resource";
                Err(Status::new(Reason::NotFound, message))
            }
        }
    }

    /// As the API server of EKS: without a token only the version is public, and a token that is not known
    /// is refused everywhere.
    fn admit(&self, call: &Call) -> Result<(), Status> {
        match &call.token {
            Some(token) if self.account.accepts(token.expose()) => Ok(()),
            Some(_unknown) => Err(Status::new(Reason::Unauthorized, "Unauthorized")),
            None if call.operation == Operation::GetVersion => Ok(()),
            None => {
                let path = call.uri.path();
                let message =
                    format!("forbidden: User \"system:anonymous\" cannot get path \"{path}\"");
                Err(Status::new(Reason::Forbidden, message))
            }
        }
    }

    /// The version as `k8s.io/apimachinery/pkg/version` has it. Like the build of Kubernetes, it adds a plus
    /// sign to the minor version of a build with a suffix, as EKS's are.
    fn version(&self) -> Value {
        let version = lock(&self.version).clone();
        let mut numbers = version.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let plus = if version.contains('-') { "+" } else { "" };
        json!({
            "major": major,
            "minor": format!("{minor}{plus}"),
            "gitVersion": version,
            "gitCommit": "0000000000000000000000000000000000000000",
            "gitTreeState": "clean",
            "buildDate": "2025-09-09T19:44:51Z",
            "goVersion": "go1.24.6",
            "compiler": "gc",
            "platform": "linux/amd64",
        })
    }

    fn open_id_configuration(&self, call: &Call) -> Value {
        let host = redaction::text(call.host.as_deref().unwrap_or("localhost"));
        json!({
            "issuer": self.issuer.url(),
            "jwks_uri": format!("https://{host}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": self.issuer.algorithms(),
        })
    }

    fn keys(&self, call: &Call) -> Answer {
        if !call.accepts(KEY_SET) {
            let message = format!("406: Not Acceptable\n\nAvailable representations: {KEY_SET}");
            return answer::bare(406, message);
        }
        let mut answer = answer::bare(200, Bytes::from(self.issuer.key_set().to_string()));
        let content_type = HeaderValue::from_static(KEY_SET);
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
        answer
    }
}

/// The type of `/openid/v1/jwks`, and the only one that the API server has it in.
const KEY_SET: &str = "application/jwk-set+json";

impl fmt::Debug for ApiServerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServerService")
            .field("issuer", &self.issuer)
            .field("account", &self.account.user())
            .finish_non_exhaustive()
    }
}

fn json_answer(value: &Value) -> Answer {
    answer::json(200, value.to_string())
}
