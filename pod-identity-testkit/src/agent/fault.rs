use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use pod_identity_core::wire::eks_auth::ErrorCode;

use crate::agent::answer;
use crate::fault::queue::Injected;
use crate::{AgentRequest, Defect, Field, Gate, ServiceError, Stage, TimeFormat};

/// What a [`MockAgent`](crate::MockAgent) does to a request instead of, or besides, answering it properly.
///
/// There are three sorts. Some *answer*: nothing of the next one in the queue is taken for the same
/// request. Some *change* a success, or any answer. Some decide how the bytes are *delivered*; of these
/// a reset and a close count as an answer, because they end the request. How they are handed out is
/// said at [`MockAgent`](crate::MockAgent#faults).
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::wire::eks_auth::ErrorCode;
/// use pod_identity_testkit::{AgentFault, Defect, Field, Gate, Stage};
///
/// let refused: AgentFault = ErrorCode::AccessDenied.into();
/// let no_expiry = AgentFault::Field(Field::Expiration, Defect::Missing);
/// let slow_headers = AgentFault::Hold(Stage::InHeaders, Gate::new());
/// let broken_off = AgentFault::Reset(Stage::InBody);
/// let hinted = AgentFault::retry_after(Duration::from_secs(2));
/// # let _ = (refused, no_expiry, slow_headers, broken_off, hinted);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum AgentFault {
    /// Answers with an error of EKS Auth, passed on in the official agent's words.
    Error(ServiceError),
    /// Answers with a status and what the official agent says with it: 429 is its own limiter, 403 a
    /// wrong host, 400, 404, 500 and 503 are passed on from EKS Auth. Others have their usual name.
    /// A status outside of 100..=999 panics in the mock's task, which closes the connection.
    Status(u16),
    /// Answers with this.
    Answer(Response<Bytes>),
    /// Answers with what a closure makes of the request; see [`AgentFault::respond`].
    Respond(AgentResponder),

    /// Spoils a member of a success.
    Field(Field, Defect),
    /// Makes the credentials of a success expire so long from now. Unlike short-lived credentials of the
    /// source, they are served: the official agent never would.
    ExpiresIn(Duration),
    /// Makes the credentials of a success have expired so long ago.
    ExpiredFor(Duration),
    /// Writes the expiration of a success otherwise.
    Expiration(TimeFormat),
    /// Hands out the credentials of the last success again, if there was one.
    SameAgain,
    /// Adds a header to whatever is answered, or replaces it.
    Header(HeaderName, HeaderValue),
    /// Puts a byte order mark before the body.
    ByteOrderMark,
    /// Compresses the body with gzip and says so, although nobody has asked for it.
    Gzip,
    /// Fills the body up to 64 KiB and one byte with white space, which JSON allows.
    Oversize,
    /// Sends the body in chunks instead of with its length.
    Chunked,

    /// Waits first, on tokio's clock.
    Latency(Duration),
    /// Waits at a stage until the gate is released.
    Hold(Stage, Gate),
    /// Waits at a stage for good: until the client gives up, the mock stops, or the faults are cleared.
    Stall(Stage),
    /// Sends byte by byte, each so long after the one before, on tokio's clock.
    Drip(Duration),
    /// Closes the connection at a stage: within the body it is cut short, after it the client's next
    /// request on this connection fails without warning.
    Close(Stage),
    /// Resets the connection at a stage.
    Reset(Stage),
}

impl AgentFault {
    /// Answers with plain text, as the official agent's errors are.
    ///
    /// # Panics
    /// When the status is not of three digits.
    pub fn text(status: u16, words: impl fmt::Display) -> Self {
        Self::Answer(answer::text(answer::status(status), words))
    }

    /// Answers 200 with this body, which claims to be JSON.
    pub fn body(body: impl Into<Bytes>) -> Self {
        Self::Answer(answer::json(body))
    }

    /// Answers 200 with JSON that breaks off.
    pub fn malformed() -> Self {
        Self::body("{\"AccessKeyId\":\"ASIA")
    }

    /// Answers 200 with an empty body.
    pub fn empty() -> Self {
        Self::body("")
    }

    /// Answers 200 with a page of HTML, as a captive portal or a wrong proxy does.
    pub fn html() -> Self {
        let page = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";
        Self::Answer(answer::html(StatusCode::OK, page))
    }

    /// Answers with a redirect.
    ///
    /// # Panics
    /// When the status is not of three digits or the location is not a header value.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Answer(answer::redirect(status, location))
    }

    /// Answers with what the closure makes of the request.
    pub fn respond(
        answer: impl Fn(&AgentRequest) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self::Respond(AgentResponder(Arc::new(answer)))
    }

    /// Adds `Retry-After`, in whole seconds, to whatever is answered.
    pub fn retry_after(time: Duration) -> Self {
        Self::Header(RETRY_AFTER, HeaderValue::from(time.as_secs()))
    }
}

impl Injected for AgentFault {
    fn answers(&self) -> bool {
        match self {
            Self::Error(_)
            | Self::Status(_)
            | Self::Answer(_)
            | Self::Respond(_)
            | Self::Close(_)
            | Self::Reset(_) => true,
            Self::Field(..)
            | Self::ExpiresIn(_)
            | Self::ExpiredFor(_)
            | Self::Expiration(_)
            | Self::SameAgain
            | Self::Header(..)
            | Self::ByteOrderMark
            | Self::Gzip
            | Self::Oversize
            | Self::Chunked
            | Self::Latency(_)
            | Self::Hold(..)
            | Self::Stall(_)
            | Self::Drip(_) => false,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Field(one, _), Self::Field(other, _)) => one == other,
            (Self::Header(one, _), Self::Header(other, _)) => one == other,
            (Self::Hold(one, _), Self::Hold(other, _)) => one == other,
            (Self::Stall(one), Self::Stall(other)) => one == other,
            _ => mem::discriminant(self) == mem::discriminant(other),
        }
    }

    fn is_spent(&self) -> bool {
        matches!(self, Self::Hold(_, gate) if gate.is_released())
    }
}

impl From<ServiceError> for AgentFault {
    fn from(error: ServiceError) -> Self {
        Self::Error(error)
    }
}

impl From<ErrorCode> for AgentFault {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code.into())
    }
}

impl fmt::Debug for AgentFault {
    /// Without bodies and header values: a test may have put a secret in one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
            Self::Status(status) => f.debug_tuple("Status").field(status).finish(),
            Self::Answer(answer) => f
                .debug_tuple("Answer")
                .field(&answer.status())
                .finish_non_exhaustive(),
            Self::Respond(_) => f.debug_tuple("Respond").finish_non_exhaustive(),
            Self::Field(field, defect) => {
                f.debug_tuple("Field").field(field).field(defect).finish()
            }
            Self::ExpiresIn(time) => f.debug_tuple("ExpiresIn").field(time).finish(),
            Self::ExpiredFor(time) => f.debug_tuple("ExpiredFor").field(time).finish(),
            Self::Expiration(format) => f.debug_tuple("Expiration").field(format).finish(),
            Self::SameAgain => f.write_str("SameAgain"),
            Self::Header(name, _) => f.debug_tuple("Header").field(name).finish_non_exhaustive(),
            Self::ByteOrderMark => f.write_str("ByteOrderMark"),
            Self::Gzip => f.write_str("Gzip"),
            Self::Oversize => f.write_str("Oversize"),
            Self::Chunked => f.write_str("Chunked"),
            Self::Latency(time) => f.debug_tuple("Latency").field(time).finish(),
            Self::Hold(stage, gate) => f.debug_tuple("Hold").field(stage).field(gate).finish(),
            Self::Stall(stage) => f.debug_tuple("Stall").field(stage).finish(),
            Self::Drip(interval) => f.debug_tuple("Drip").field(interval).finish(),
            Self::Close(stage) => f.debug_tuple("Close").field(stage).finish(),
            Self::Reset(stage) => f.debug_tuple("Reset").field(stage).finish(),
        }
    }
}

/// A closure that answers; made by [`AgentFault::respond`].
#[derive(Clone)]
pub struct AgentResponder(Arc<AgentRespond>);

type AgentRespond = dyn Fn(&AgentRequest) -> Response<Bytes> + Send + Sync;

impl AgentResponder {
    pub(crate) fn answer(&self, request: &AgentRequest) -> Response<Bytes> {
        (self.0)(request)
    }
}

impl fmt::Debug for AgentResponder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentResponder").finish_non_exhaustive()
    }
}
