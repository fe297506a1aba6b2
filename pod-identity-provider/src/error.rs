use std::io;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::wire::agent::{DecodeError, ErrorResponse};
use pod_identity_core::{
    EndpointError, EndpointProblem, Failure, FailureClass, SlotError, TokenFileError,
    TokenFileProblem, variables,
};

use crate::runtime::capabilities::Unusable;
use crate::{ConfigError, TransportError};

/// Why there are no credentials, grouped by what to do next.
///
/// Cloning is cheap: one failure is handed to everybody who waited for it. The text never holds a
/// token, a secret key or a session token.
///
/// The text includes the causes, and [`source`](std::error::Error::source) is `None`: whether an
/// application prints the error alone or its chain of sources, each cause is printed once. The causes as
/// values are the fields of the variants. The other errors of this crate do likewise.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No URI variable is set. Remedy: ask the next provider of the chain; on EKS, restart a pod that is
    /// older than its association.
    #[error(
        "no container credentials are configured: {} and {} are unset",
        variables::FULL_URI,
        variables::RELATIVE_URI
    )]
    NotConfigured,
    /// A setting is not allowed. Remedy: the message names the variable and what is allowed.
    #[error("{0}")]
    Configuration(Arc<ConfigError>),
    /// The token file cannot be used, so nothing was sent. Remedy: the message names the path and what
    /// is wrong with it.
    #[error("{0}")]
    Token(Arc<TokenFileError>),
    /// The endpoint's host name has no address at the moment. It is resolved anew for every fetch.
    #[error("{host} cannot be resolved: {cause}")]
    Unresolved {
        /// The host name.
        host: Arc<str>,
        /// The resolver's error.
        cause: Arc<io::Error>,
    },
    /// No connection, or one that broke. Remedy: check that the agent runs on this node and that no
    /// network policy blocks it.
    #[error("{endpoint} cannot be reached: {cause}")]
    Unreachable {
        /// Host and port.
        endpoint: Arc<str>,
        /// The transport's error.
        cause: Arc<TransportError>,
    },
    /// It took too long. Remedy: as for [`Unreachable`](Self::Unreachable).
    #[error("no {stage} {endpoint} within {after:?}")]
    TimedOut {
        /// Host and port.
        endpoint: Arc<str>,
        /// The step that did not end in time.
        stage: Stage,
        /// The limit.
        after: Duration,
    },
    /// The agent answered with an error. Remedy: its message says what is wrong, for example that the
    /// service account has no association.
    #[error("{endpoint} refused: {response}")]
    Refused {
        /// Host and port.
        endpoint: Arc<str>,
        /// The error, its message bounded and without the token.
        response: Arc<ErrorResponse>,
    },
    /// The agent answered with success, but the answer cannot be used.
    #[error("the answer cannot be used: {0}")]
    Malformed(Malformed),
    /// The runtime that the attempt ran on was shut down.
    #[error("the attempt was interrupted before it had a result")]
    Interrupted,
    /// The transport or the resolver panicked. Remedy: correct the custom transport or resolver.
    #[error("the attempt panicked: {message}")]
    Panicked {
        /// The text of the panic.
        message: Arc<str>,
    },
    /// Called outside of a tokio runtime, and nothing is held. Remedy: call it within one.
    #[error("there is no tokio runtime here to fetch with")]
    NoRuntime,
    /// Called on a tokio runtime whose timers are disabled, and nothing is held. Remedy: build the runtime
    /// with `enable_all`, or `enable_time`.
    #[error("the tokio runtime has no timers: build it with `enable_all`")]
    RuntimeWithoutTime,
    /// Called through the handle of a tokio runtime that was shut down, and nothing is held. Remedy: call it on one
    /// that runs.
    #[error("the tokio runtime was shut down: use one that runs")]
    RuntimeShutDown,
    /// Called in a child process after `fork`, on a tokio runtime that was used before it, and nothing is held.
    /// The threads that drove the runtime are in the parent. Remedy: build a new runtime in the child.
    #[error("the tokio runtime was left in the parent by `fork`: build a new one in the child")]
    RuntimeOfParent,
}

/// A step of an attempt that has a limit in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Resolving the endpoint's host name.
    Addresses,
    /// The connection.
    Connection,
    /// The answer, to the end of its body.
    Answer,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Addresses => "address of",
            Self::Connection => "connection to",
            Self::Answer => "complete answer from",
        })
    }
}

/// What is wrong with a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It cannot be read, or something is missing in it.
    #[error("{0}")]
    Body(DecodeError),
    /// Its body is larger than [`MAX_BODY`](crate::MAX_BODY).
    #[error("its body is larger than 64 KiB")]
    TooLarge,
    /// Its credentials have expired, or are about to. The text is the official agent's.
    #[error(
        "fetched credentials are expired or will expire within the next {:.2} seconds",
        left.as_secs_f64()
    )]
    Expiring {
        /// The time until they expire.
        left: Duration,
    },
}

impl FetchError {
    /// Returns whether a later attempt may succeed although nobody corrects anything.
    pub fn is_retryable(&self) -> bool {
        self.class().is_retryable()
    }

    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::NotConfigured
            | Self::Configuration(_)
            | Self::NoRuntime
            | Self::RuntimeWithoutTime
            | Self::RuntimeShutDown
            | Self::RuntimeOfParent => FailureClass::Denied,
            Self::Unreachable { cause, .. } if cause.is_permanent() => FailureClass::Denied,
            Self::Token(error) if matches!(error.problem(), TokenFileProblem::Io(_)) => {
                FailureClass::Transient
            }
            Self::Token(_) => FailureClass::Denied,
            Self::Refused { response, .. } => response.class(),
            Self::Malformed(_) => FailureClass::Malformed,
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Panicked { .. } => FailureClass::Transient,
            Self::Interrupted => FailureClass::Interrupted,
        }
    }

    pub(crate) fn into_failure(self) -> Failure<Self> {
        Failure::new(self.class(), self)
    }

    /// Whether it is the same failure as another, apart from request ids and other details of the text.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused { response: one, .. }, Self::Refused { response: two, .. }) => {
                (one.status, &one.code) == (two.status, &two.code)
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl From<ConfigError> for FetchError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NotConfigured => Self::NotConfigured,
            error => Self::Configuration(Arc::new(error)),
        }
    }
}

impl From<Unusable> for FetchError {
    fn from(runtime: Unusable) -> Self {
        match runtime {
            Unusable::Missing => Self::NoRuntime,
            Unusable::WithoutTime => Self::RuntimeWithoutTime,
            Unusable::ShutDown => Self::RuntimeShutDown,
            Unusable::LeftInParent => Self::RuntimeOfParent,
        }
    }
}

impl From<TokenFileError> for FetchError {
    fn from(error: TokenFileError) -> Self {
        Self::Token(Arc::new(error))
    }
}

impl From<SlotError> for FetchError {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::Expiring { left } => Self::Malformed(Malformed::Expiring { left }),
            _ => Self::Interrupted,
        }
    }
}

/// A host name that resolved to an address that is not allowed is a wrong configuration; one that resolved
/// to none may resolve the next time.
pub(crate) fn unusable_addresses(error: EndpointError) -> FetchError {
    match error.problem() {
        EndpointProblem::Unresolved { name } => FetchError::Unresolved {
            host: name.as_str().into(),
            cause: Arc::new(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        },
        _ => ConfigError::from(error).into(),
    }
}
