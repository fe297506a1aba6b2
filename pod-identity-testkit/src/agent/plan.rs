use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue};
use pod_identity_core::{Credentials, Timestamp};

use crate::agent::answer::{self, AgentAnswer};
use crate::agent::body::SuccessBody;
use crate::http::delivery::{Delivery, Wait};
use crate::http::gzip;
use crate::http::wire::{Framing, Wire};
use crate::{AgentFault, AgentRequest, Defect, Ending, Field, Stage, TimeFormat};

/// What the faults of one request have come to: what is answered instead, what is changed, and how it
/// gets to the client.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    answer: Option<AgentFault>,
    changes: Changes,
    form: Form,
    pub(crate) delivery: Delivery,
}

/// Changes to a success.
#[derive(Debug, Default)]
struct Changes {
    fields: Vec<(Field, Defect)>,
    expiry: Option<Expiry>,
    format: Option<TimeFormat>,
    same_again: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expiry {
    In(Duration),
    Ago(Duration),
}

/// Changes to any answer.
#[derive(Debug, Default)]
struct Form {
    headers: Vec<(HeaderName, HeaderValue)>,
    byte_order_mark: bool,
    gzip: bool,
    oversize: bool,
    framing: Framing,
}

impl Plan {
    pub(crate) fn new(faults: Vec<AgentFault>) -> Self {
        faults.into_iter().fold(Self::default(), Self::with)
    }

    fn with(mut self, fault: AgentFault) -> Self {
        match fault {
            AgentFault::Error(_)
            | AgentFault::Status(_)
            | AgentFault::Answer(_)
            | AgentFault::Respond(_) => self.answer = Some(fault),
            AgentFault::Field(field, defect) => self.changes.fields.push((field, defect)),
            AgentFault::ExpiresIn(time) => self.changes.expiry = Some(Expiry::In(time)),
            AgentFault::ExpiredFor(time) => self.changes.expiry = Some(Expiry::Ago(time)),
            AgentFault::Expiration(format) => self.changes.format = Some(format),
            AgentFault::SameAgain => self.changes.same_again = true,
            AgentFault::Header(name, value) => self.form.headers.push((name, value)),
            AgentFault::ByteOrderMark => self.form.byte_order_mark = true,
            AgentFault::Gzip => self.form.gzip = true,
            AgentFault::Oversize => self.form.oversize = true,
            AgentFault::Chunked => self.form.framing = Framing::Chunked,
            AgentFault::Latency(time) => self.wait(Stage::BeforeHeaders, Wait::Pause(time)),
            AgentFault::Hold(stage, gate) => self.wait(stage, Wait::Gate(gate)),
            AgentFault::Stall(stage) => self.wait(stage, Wait::Forever),
            AgentFault::Drip(interval) => self.delivery.drip = Some(interval),
            AgentFault::Close(stage) => self.delivery.ending = Some(Ending::Closed(stage)),
            AgentFault::Reset(stage) => self.delivery.ending = Some(Ending::Reset(stage)),
        }
        self
    }

    fn wait(&mut self, stage: Stage, wait: Wait) {
        self.delivery.waits.push((stage, wait));
    }

    /// The answer that stands in for the proper one.
    pub(crate) fn answer(&self, request: &AgentRequest) -> Option<AgentAnswer> {
        match self.answer.as_ref()? {
            AgentFault::Error(error) => Some(answer::refusal(&error.clone().into())),
            AgentFault::Status(status) => Some(answer::official(*status)),
            AgentFault::Answer(answer) => Some(answer.clone()),
            AgentFault::Respond(closure) => Some(closure.answer(request)),
            _ => None,
        }
    }

    /// Whether the last credentials are to be handed out again.
    pub(crate) fn wants_same_again(&self) -> bool {
        self.changes.same_again
    }

    /// The credentials with the expiry that they are to have, and whether that was said.
    pub(crate) fn expiring(&self, credentials: Credentials, now: Timestamp) -> (Credentials, bool) {
        let expiration = match self.changes.expiry {
            None => return (credentials, false),
            Some(Expiry::In(time)) => now + time,
            Some(Expiry::Ago(time)) => now - time,
        };
        let changed = Credentials::new(
            credentials.access_key_id(),
            credentials.secret_access_key().clone(),
            credentials.session_token().clone(),
            expiration,
        );
        let changed = match credentials.account_id() {
            Some(account) => changed.with_account_id(account),
            None => changed,
        };
        (changed, true)
    }

    /// The body of a success.
    pub(crate) fn success(&self, credentials: &Credentials) -> Vec<u8> {
        let mut body = SuccessBody::new(credentials);
        if let Some(format) = self.changes.format {
            body.write_expiration(credentials.expiration(), format);
        }
        for (field, defect) in &self.changes.fields {
            body.spoil(*field, defect);
        }
        body.to_bytes()
    }

    /// The bytes of an answer; `last`: whether to say that the connection ends with it.
    pub(crate) fn wire(&self, answer: AgentAnswer, last: bool) -> Wire {
        let (mut parts, body) = answer.into_parts();
        let mut body = body.to_vec();
        if self.form.byte_order_mark {
            body.splice(..0, BYTE_ORDER_MARK);
        }
        if self.form.oversize && body.len() <= MAX_BODY {
            body.resize(MAX_BODY + 1, b' ');
        }
        if self.form.gzip {
            body = gzip::stored(&body);
            let gzip = HeaderValue::from_static("gzip");
            parts.headers.insert(CONTENT_ENCODING, gzip);
        }
        parts.headers.extend(self.form.headers.iter().cloned());
        let answer = AgentAnswer::from_parts(parts, Bytes::from(body));
        Wire::new(answer, self.form.framing, last)
    }
}

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The most that a client should read: 64 KiB.
const MAX_BODY: usize = 64 * 1024;
