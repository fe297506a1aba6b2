use std::time::Duration;

use http::HeaderValue;
use pod_identity_core::wire::agent::Refusal;
use pod_identity_core::wire::eks_auth::{ErrorBody, ErrorCode, ErrorResponse};

use crate::eks::protocol;
use crate::fault::hidden::Hidden;
use crate::http::answer::Answer;
use crate::record::redaction;
use crate::token::ids;
use crate::{Fault, Operation};

/// An error of EKS Auth, as the service writes it.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::wire::eks_auth::ErrorCode;
/// use pod_identity_testkit::ServiceError;
///
/// let throttled = ServiceError::new(ErrorCode::Throttling).retry_after(Duration::from_millis(250));
/// assert_eq!(throttled.code(), ErrorCode::Throttling);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    code: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
}

impl ServiceError {
    /// Returns an error with its official status and message: the one observed from the real service, else the
    /// documentation text of its public model.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            message: usual_message(code).to_owned(),
            retry_after: None,
        }
    }

    /// Sets the message.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Adds the header `x-amz-retry-after`, in milliseconds.
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Returns the code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Returns it without the tokens in its message, which may quote the request. The message of a fault stays as the
    /// test has it.
    pub(crate) fn redacted(mut self) -> Self {
        self.message = redaction::text(&self.message);
        self
    }

    pub(crate) fn answer(&self, operation: Operation) -> Answer {
        let (status, code) = (self.code.status(), self.code.name());
        let mut answer = protocol::error(operation, status, code, &self.message);
        if let Some(retry_after) = self.retry_after {
            let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            let headers = answer.headers_mut();
            headers.insert(ErrorBody::RETRY_AFTER_HEADER, HeaderValue::from(millis));
        }
        answer
    }
}

impl From<ServiceError> for Refusal {
    /// Returns the refusal as which the official agent passes the error on, with a new request id.
    fn from(error: ServiceError) -> Self {
        Self::EksAuth(ErrorResponse {
            status: error.code.status(),
            code: error.code.name().to_owned(),
            message: error.message,
            request_id: Some(ids::uuid(&mut fastrand::Rng::new())),
        })
    }
}

impl From<ErrorCode> for ServiceError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        let fault = Self {
            message: Some(Hidden(error.message)),
            ..Self::error(error.code.name())
        };
        match error.retry_after {
            Some(time) => fault.and(Self::retry_after(time)),
            None => fault,
        }
    }
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self::error(code.name())
    }
}

fn usual_message(code: ErrorCode) -> &'static str {
    match code {
        // Observed from the real service.
        ErrorCode::AccessDenied => {
            "Unauthorized Exception! EKS does not have permissions to assume the associated role."
        }
        ErrorCode::ResourceNotFound => {
            "The token included in the request has no service account role association for it."
        }
        // From the public model.
        ErrorCode::ExpiredToken => "The specified Kubernetes service account token is expired.",
        ErrorCode::InternalServer => "These errors are usually caused by a server-side issue.",
        ErrorCode::InvalidParameter => "The specified parameter is invalid.",
        ErrorCode::InvalidRequest => "This request contains a semantic error.",
        ErrorCode::InvalidToken => "The specified Kubernetes service account token is invalid.",
        ErrorCode::ServiceUnavailable => {
            "The service is unavailable. Back off and retry the operation."
        }
        ErrorCode::Throttling => "The request was denied because your request rate is too high.",
        _ => "An error that this mock does not know.",
    }
}
