use std::io;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::wire::agent::{DecodeError, ErrorResponse};
use pod_identity_core::{
    EndpointError, EndpointProblem, Failure, FailureClass, SlotError, TokenFileError,
    TokenFileProblem, variables,
};

use crate::TransportError;

/// Why there are no credentials, grouped by what to do next.
///
/// Cloning is cheap: one failure is handed to everybody who waited for it. The text never holds a
/// token, a secret key or a session token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No URI variable is set. Cure: ask the next provider of the chain; on EKS, restart a pod that is
    /// older than its association.
    #[error(
        "no container credentials are configured: {} and {} are unset",
        variables::FULL_URI,
        variables::RELATIVE_URI
    )]
    NotConfigured,
    /// What is set is not allowed. Cure: the message names the variable and what is allowed.
    #[error(transparent)]
    Configuration(Arc<ConfigError>),
    /// The token file cannot be used, so nothing was sent. Cure: the message names the path and what
    /// is wrong with it.
    #[error(transparent)]
    Token(Arc<TokenFileError>),
    /// The endpoint's host name has no address at the moment. It is resolved anew for every fetch.
    #[error("{host} cannot be resolved: {source}")]
    Unresolved {
        /// The host name.
        host: Arc<str>,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// No connection, or one that broke. Cure: check that the agent runs on this node and that no
    /// network policy is in the way.
    #[error("{endpoint} cannot be reached: {source}")]
    Unreachable {
        /// Host and port.
        endpoint: Arc<str>,
        /// What failed.
        source: Arc<TransportError>,
    },
    /// It took too long. Cure: as for [`Unreachable`](Self::Unreachable).
    #[error("no {stage} {endpoint} within {after:?}")]
    TimedOut {
        /// Host and port.
        endpoint: Arc<str>,
        /// What was waited for.
        stage: Stage,
        /// How long.
        after: Duration,
    },
    /// The agent answered with an error. Cure: its own words say what is wrong, for example that the
    /// service account has no association.
    #[error("{endpoint} refused: {refusal}")]
    Refused {
        /// Host and port.
        endpoint: Arc<str>,
        /// What it said, bounded and without the token.
        refusal: Arc<ErrorResponse>,
    },
    /// The agent answered with success, but the answer is of no use.
    #[error("the answer cannot be used: {0}")]
    Malformed(Malformed),
    /// The runtime that the attempt ran on was shut down, or the attempt panicked.
    #[error("the attempt was interrupted before it had a result")]
    Interrupted,
    /// Called outside of a tokio runtime, and nothing is held. Cure: call it within one.
    #[error("there is no tokio runtime here to fetch with")]
    NoRuntime,
}

/// What was waited for when the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The connection.
    Connection,
    /// The answer, to the end of its body.
    Answer,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
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
    /// It expires too soon, or was rejected by a service before.
    #[error("{0}")]
    Credentials(SlotError),
}

impl FetchError {
    /// Whether trying again may help without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        self.class().is_retryable()
    }

    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::NotConfigured | Self::Configuration(_) | Self::NoRuntime => FailureClass::Denied,
            Self::Token(error) if matches!(error.problem(), TokenFileProblem::Io(_)) => {
                FailureClass::Transient
            }
            Self::Token(_) => FailureClass::Denied,
            Self::Refused { refusal, .. } => refusal.class(),
            Self::Malformed(_) => FailureClass::Malformed,
            Self::Unresolved { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => {
                FailureClass::Transient
            }
            Self::Interrupted => FailureClass::Interrupted,
        }
    }

    pub(crate) fn into_failure(self) -> Failure<Self> {
        Failure::new(self.class(), self)
    }

    /// Whether it says the same as another one; request ids and other details of the text aside.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused { refusal: one, .. }, Self::Refused { refusal: two, .. }) => {
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

impl From<TokenFileError> for FetchError {
    fn from(error: TokenFileError) -> Self {
        Self::Token(Arc::new(error))
    }
}

impl From<SlotError> for FetchError {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::Abandoned | SlotError::NotBegun => Self::Interrupted,
            error => Self::Malformed(Malformed::Credentials(error)),
        }
    }
}

/// A provider that cannot be built. It never quotes a URI or a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No URI variable is set, whatever the token variables say: not an error of this chain, the next
    /// provider may be asked.
    #[error(
        "no container credentials are configured: {} and {} are unset",
        variables::FULL_URI,
        variables::RELATIVE_URI
    )]
    NotConfigured,
    /// The endpoint is not allowed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The token given as text cannot be sent.
    #[error("{origin} holds bytes that no header may carry")]
    Token {
        /// The variable, or `token` for one given in code.
        origin: &'static str,
    },
    /// An `https` endpoint, and no TLS in this build.
    #[error("the endpoint is https: build pod-identity-provider with its feature `rustls`")]
    TlsDisabled,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
}

impl ConfigError {
    /// Whether nothing is set at all, so that a chain goes on.
    pub fn is_not_configured(&self) -> bool {
        matches!(self, Self::NotConfigured)
    }
}

/// A host name that resolved to something that is not allowed is the configuration's fault; one that
/// resolved to nothing may resolve the next time.
pub(crate) fn vetting(error: EndpointError) -> FetchError {
    match error.problem() {
        EndpointProblem::Unresolved { name } => FetchError::Unresolved {
            host: name.as_str().into(),
            source: Arc::new(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        },
        _ => ConfigError::from(error).into(),
    }
}
