use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use pod_identity_core::wire::eks_auth::ErrorCode;

use crate::fault::queue::Injected;
use crate::{Gate, RecordedRequest, ServiceError};

/// What a mock does to a request instead of, or besides, answering it properly.
///
/// Some faults answer; the others only delay or change what the next one, or the service itself, says.
/// How they are handed out is said at [`MockEksAuth`](crate::MockEksAuth#faults).
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::wire::eks_auth::ErrorCode;
/// use pod_identity_testkit::{Fault, ServiceError};
///
/// let plain: Fault = ErrorCode::AccessDenied.into();
/// let hinted: Fault = ServiceError::new(ErrorCode::Throttling).retry_after(Duration::from_secs(2)).into();
/// let own = Fault::respond(|request| {
///     http::Response::new(format!("you came over connection {}", request.connection))
/// });
/// # let _ = (plain, hinted, own);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Fault {
    /// Answers with one of the nine errors.
    Error(ServiceError),
    /// Answers with a status and a body, as a proxy in between might: no error code, no content type.
    /// A status outside of 100..=999 panics in the mock's task, which closes the connection.
    Status(u16, String),
    /// Answers 200 with this body.
    Malformed(String),
    /// Answers with what a closure makes of the request; see [`Fault::respond`].
    Respond(Responder),
    /// Closes the connection without an answer.
    Reset,
    /// Never answers: until the client gives up, the mock stops, or the faults are cleared.
    Hang,
    /// Waits first, on tokio's clock.
    Latency(Duration),
    /// Waits until the gate is released.
    Gate(Gate),
    /// Makes the credentials of a success expire so long from now. Zero: they have expired already.
    ExpiresIn(Duration),
    /// Removes a member from a success: its path, joined by dots, such as `credentials.expiration` or
    /// `podIdentityAssociation`. A path that names none panics in the mock's task, which closes the
    /// connection.
    Without(&'static str),
}

impl Fault {
    /// Answers with what the closure makes of the request.
    pub fn respond(
        answer: impl Fn(&RecordedRequest) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Self::Respond(Responder(Arc::new(answer)))
    }
}

impl Injected for Fault {
    fn answers(&self) -> bool {
        match self {
            Self::Error(_)
            | Self::Status(..)
            | Self::Malformed(_)
            | Self::Respond(_)
            | Self::Reset
            | Self::Hang => true,
            Self::Latency(_) | Self::Gate(_) | Self::ExpiresIn(_) | Self::Without(_) => false,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
    }

    fn is_spent(&self) -> bool {
        matches!(self, Self::Gate(gate) if gate.is_released())
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        Self::Error(error)
    }
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code.into())
    }
}

impl fmt::Debug for Fault {
    /// Without bodies: a test may have put a secret in one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
            Self::Status(status, _) => f
                .debug_tuple("Status")
                .field(status)
                .finish_non_exhaustive(),
            Self::Malformed(_) => f.debug_tuple("Malformed").finish_non_exhaustive(),
            Self::Respond(_) => f.debug_tuple("Respond").finish_non_exhaustive(),
            Self::Reset => f.write_str("Reset"),
            Self::Hang => f.write_str("Hang"),
            Self::Latency(latency) => f.debug_tuple("Latency").field(latency).finish(),
            Self::Gate(gate) => f.debug_tuple("Gate").field(gate).finish(),
            Self::ExpiresIn(lifetime) => f.debug_tuple("ExpiresIn").field(lifetime).finish(),
            Self::Without(member) => f.debug_tuple("Without").field(member).finish(),
        }
    }
}

/// A closure that answers; made by [`Fault::respond`].
#[derive(Clone)]
pub struct Responder(Arc<Respond>);

type Respond = dyn Fn(&RecordedRequest) -> Response<String> + Send + Sync;

impl Responder {
    pub(crate) fn answer(&self, request: &RecordedRequest) -> Response<String> {
        (self.0)(request)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}
