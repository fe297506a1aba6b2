use crate::eks::protocol;
use crate::fault::hidden::Hidden;
use crate::http::answer::Answer;
use crate::record::redaction;
use crate::{Fault, Operation};

/// An error of EKS or STS, which a test can inject into [one operation](crate::MockEksAuth::on).
///
/// The answer has the protocol of the operation: EKS has JSON and the code in `x-amzn-ErrorType`, STS has XML and
/// its own name of the error.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use pod_identity_testkit::{ApiError, ApiErrorCode, MockEksAuth, Operation};
///
/// let eks = MockEksAuth::start().await;
/// // Without 5,000 associations:
/// eks.on(Operation::CreatePodIdentityAssociation)
///     .inject(ApiErrorCode::ResourceLimitExceeded);
/// eks.on(Operation::GetCallerIdentity)
///     .inject_always(ApiError::new(ApiErrorCode::AccessDenied).message("no, not you"));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: ApiErrorCode,
    message: String,
}

impl ApiError {
    /// Returns an error with the status and the documentation text of EKS's public model.
    pub fn new(code: ApiErrorCode) -> Self {
        Self {
            code,
            message: code.usual_message().to_owned(),
        }
    }

    /// Sets the message.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Returns the code.
    pub fn code(&self) -> ApiErrorCode {
        self.code
    }

    /// Returns it without the tokens in its message, which may quote the request. The message of a fault stays as the
    /// test has it.
    pub(crate) fn redacted(mut self) -> Self {
        self.message = redaction::text(&self.message);
        self
    }

    pub(crate) fn answer(&self, operation: Operation) -> Answer {
        protocol::error(
            operation,
            self.code.status(),
            self.code.name(),
            &self.message,
        )
    }
}

impl From<ApiErrorCode> for ApiError {
    fn from(code: ApiErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self {
            message: Some(Hidden(error.message)),
            ..Self::error(error.code.name())
        }
    }
}

impl From<ApiErrorCode> for Fault {
    fn from(code: ApiErrorCode) -> Self {
        Self::error(code.name())
    }
}

/// The errors of the API of EKS, and those that every API of AWS has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiErrorCode {
    /// IAM denies the caller the operation.
    AccessDenied,
    /// A request to an operation on tags is invalid.
    BadRequest,
    /// A parameter is invalid.
    InvalidParameter,
    /// The request is invalid in the state of the cluster.
    InvalidRequest,
    /// No resource has this ARN.
    NotFound,
    /// The service account has an association already.
    ResourceInUse,
    /// The cluster has 5,000 associations.
    ResourceLimitExceeded,
    /// No such cluster or association.
    ResourceNotFound,
    /// The body cannot be read.
    Serialization,
    /// The service failed.
    Server,
    /// The service is unavailable.
    ServiceUnavailable,
    /// Too many requests.
    Throttling,
}

impl ApiErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::AccessDenied,
        Self::BadRequest,
        Self::InvalidParameter,
        Self::InvalidRequest,
        Self::NotFound,
        Self::ResourceInUse,
        Self::ResourceLimitExceeded,
        Self::ResourceNotFound,
        Self::Serialization,
        Self::Server,
        Self::ServiceUnavailable,
        Self::Throttling,
    ];

    /// Returns its name in EKS's model, such as `ResourceInUseException`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::BadRequest => "BadRequestException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::InvalidRequest => "InvalidRequestException",
            Self::NotFound => "NotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceLimitExceeded => "ResourceLimitExceededException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::Server => "ServerException",
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::Throttling => "ThrottlingException",
        }
    }

    /// Returns the code of this [name](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// Returns its HTTP status in EKS.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest
            | Self::InvalidParameter
            | Self::InvalidRequest
            | Self::ResourceLimitExceeded
            | Self::Serialization => 400,
            Self::AccessDenied => 403,
            Self::NotFound | Self::ResourceNotFound => 404,
            Self::ResourceInUse => 409,
            Self::Throttling => 429,
            Self::Server => 500,
            Self::ServiceUnavailable => 503,
        }
    }

    pub(crate) fn because(self, message: impl Into<String>) -> ApiError {
        ApiError::new(self).message(message)
    }

    const fn usual_message(self) -> &'static str {
        match self {
            Self::AccessDenied => "You don't have permissions to perform the requested operation.",
            Self::BadRequest => {
                "This exception is thrown if the request contains a semantic error."
            }
            Self::InvalidParameter => {
                "The specified parameter is invalid. Review the available parameters for the API \
                 request."
            }
            Self::InvalidRequest => "The request is invalid given the state of the cluster.",
            Self::NotFound => {
                "A service resource associated with the request could not be found. Clients should \
                 not retry such requests."
            }
            Self::ResourceInUse => "The specified resource is in use.",
            Self::ResourceLimitExceeded => {
                "You have encountered a service limit on the specified resource."
            }
            Self::ResourceNotFound => "The specified resource could not be found.",
            Self::Server => "These errors are usually caused by a server-side issue.",
            Self::ServiceUnavailable => {
                "The service is unavailable. Back off and retry the operation."
            }
            Self::Throttling => {
                "The request or operation couldn't be performed because a service is throttling \
                 requests."
            }
            Self::Serialization => "The request body could not be read.",
        }
    }
}
