use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use pod_identity_core::JsonObject;
use pod_identity_core::{Clock, Secret, Timestamp};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::identities_file::IdentitiesFile;
use super::request::WebhookRequest;
use super::review::Review;
use crate::fault::change::change;
use crate::fault::error::FaultError;
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
use crate::{Fault, JsonPatch, Operation, WebhookConfig};

/// The webhook behind its socket.
#[derive(Debug)]
pub(crate) struct WebhookService {
    pub(crate) config: WebhookConfig,
    pub(crate) file: Option<IdentitiesFile>,
    /// Without it, plain HTTP.
    pub(crate) tls: Option<Acceptor>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: FaultQueue,
    pub(crate) gates: Gates,
    pub(crate) recorder: Recorder<WebhookRequest>,
}

/// What accepts connections over TLS.
pub(crate) struct Acceptor(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    /// Without the private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Mock for WebhookService {
    type Call = http::Request<Bytes>;
    type Record = WebhookRequest;

    const NAME: &'static str = "mock webhook";

    /// Twice what the API server accepts as a request itself.
    const MAX_BODY: usize = 6 * 1024 * 1024;

    fn check(fault: &Fault) -> Result<(), FaultError> {
        let of_others = [
            ("error", fault.error.is_some()),
            ("retry_after", fault.retry_after.is_some()),
            ("expires_in", fault.expires_in.is_some()),
            ("expired_for", fault.expired_for.is_some()),
            ("expiration", fault.expiration.is_some()),
            ("same_again", fault.same_again),
            ("operation", fault.operation.is_some()),
            ("token", fault.token.is_some()),
        ];
        if let Some((name, _)) = of_others.into_iter().find(|(_, is_there)| *is_there) {
            return Err(FaultError::NotOfWebhook(name));
        }
        let mut paths = fault.fields.keys().chain(&fault.without);
        match paths.find(|path| !MEMBERS.contains(&path.as_str())) {
            Some(path) => Err(FaultError::Member {
                name: path.clone(),
                success: "the webhook's success",
                known: MEMBERS.join(", "),
            }),
            None => Ok(()),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn gates(&self) -> &Gates {
        &self.gates
    }

    fn recorder(&self) -> &Recorder<WebhookRequest> {
        &self.recorder
    }

    fn queue(&self, _only: Option<Operation>) -> &FaultQueue {
        &self.faults
    }

    fn queue_of(&self, _any: &WebhookRequest) -> &FaultQueue {
        &self.faults
    }

    fn faults(&self) -> &dyn Faults {
        &self.faults
    }

    async fn open(&self, stream: TcpStream) -> Option<Box<dyn Stream>> {
        match &self.tls {
            None => Some(Box::new(stream)),
            Some(Acceptor(tls)) => {
                let stream = tls.accept(stream).await.ok()?;
                Some(Box::new(stream))
            }
        }
    }

    fn read(&self, request: &Request) -> Result<http::Request<Bytes>, &'static str> {
        request.to_http().ok_or("")
    }

    fn probed(&self, call: &http::Request<Bytes>) -> Option<Answer> {
        (call.uri().path() == "/healthz").then(healthy)
    }

    fn record(
        &self,
        connection: u64,
        call: &http::Request<Bytes>,
        _request: &Request,
    ) -> (WebhookRequest, Option<Secret>) {
        let mut review: Option<Value> = serde_json::from_slice(call.body()).ok();
        if let Some(review) = &mut review {
            redaction::redact(review);
        }
        let text = |path: &str| {
            let value = review.as_ref()?.pointer(path)?;
            value.as_str().map(str::to_owned)
        };
        let host = call.headers().get(HOST);
        let host = host.map(|host| redaction::text(&String::from_utf8_lossy(host.as_bytes())));
        let mut record = WebhookRequest {
            at: self.clock.now(),
            connection,
            method: redaction::text(call.method().as_str()),
            path: redaction::target(&call.uri().to_string()),
            host,
            uid: text("/request/uid"),
            namespace: text("/request/namespace"),
            service_account: text("/request/object/spec/serviceAccountName"),
            pod: text("/request/object/metadata/name")
                .or_else(|| text("/request/object/metadata/generateName")),
            review: None,
            patch: None,
            in_flight: 0,
            outcome: None,
        };
        record.review = review;
        (record, None)
    }

    fn refuse(&self, _record: &WebhookRequest, fault: &Fault) -> Option<Answer> {
        if fault.malformed {
            return Some(answer::json(200, BROKEN_OFF));
        }
        let text = fault.text.as_ref().map(|text| text.0.as_str());
        Some(answer::text(fault.status?, text.unwrap_or_default()))
    }

    async fn answer(
        &self,
        call: &http::Request<Bytes>,
        _request: &Request,
        record: &mut WebhookRequest,
        fault: &Fault,
    ) -> Answer {
        let answer = match call.uri().path() {
            PATH => self.mutate(call, record),
            _ => answer::text(404, "404 page not found"),
        };
        match answer.status().is_success() {
            true => change(answer, fault),
            false => answer,
        }
    }

    fn finish(&self, answer: &mut Answer) {
        answer::date(answer, self.clock.now());
    }

    fn retry_after(time: Duration) -> (HeaderName, HeaderValue) {
        (RETRY_AFTER, HeaderValue::from(time.as_secs()))
    }

    fn apply(&self, _action: &Action, _at: Timestamp) -> io::Result<()> {
        Ok(())
    }
}

impl WebhookService {
    fn mutate(&self, call: &http::Request<Bytes>, record: &mut WebhookRequest) -> Answer {
        // Exactly this: with a charset the official one refuses it, too.
        let content_type = call.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|value| value != "application/json") {
            let message = "Invalid Content-Type, expected `application/json`";
            return answer::text(415, message);
        }
        match serde_json::from_slice::<JsonObject<Review>>(call.body()) {
            Ok(JsonObject(review)) => {
                let (answer, patch) = self.review(review);
                record.patch = patch.as_ref().map(redacted);
                answer
            }
            Err(error) => {
                let message = format!("cannot decode AdmissionReview: {error}");
                answer::text(400, redaction::text(&message))
            }
        }
    }

    fn review(&self, review: Review) -> (Answer, Option<JsonPatch>) {
        let (reviewed, patch) = match &self.file {
            Some(file) => review.answer(&self.config.knowing(file.current())),
            None => review.answer(&self.config),
        };
        let body = serde_json::to_string(&reviewed).expect("a review must serialize");
        (answer::json(200, body), patch)
    }
}

fn redacted(patch: &JsonPatch) -> JsonPatch {
    let mut json = serde_json::to_value(patch).expect("a patch must serialize");
    redaction::redact(&mut json);
    serde_json::from_value(json).expect("a redacted patch must be a patch")
}

fn healthy() -> Answer {
    let mut answer = answer::bare(200, "ok");
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

pub(crate) const PATH: &str = "/mutate";

/// What a success is made of.
const MEMBERS: [&str; 8] = [
    "apiVersion",
    "kind",
    "response",
    "response.allowed",
    "response.patch",
    "response.patchType",
    "response.status",
    "response.uid",
];

const BROKEN_OFF: &str = "{\"kind\":\"AdmissionReview\",";
