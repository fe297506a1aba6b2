use pod_identity_core::{AuthorizationTokenError, EndpointError, variables};

/// Why a provider cannot be built. The error never quotes a URI or a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No URI variable is set, whatever the token variables say. A chain does not treat this as a
    /// failure: it asks the next provider.
    #[error(
        "no container credentials are configured: {} and {} are unset",
        variables::FULL_URI,
        variables::RELATIVE_URI
    )]
    NotConfigured,
    /// The endpoint is not allowed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A variable that counts is set to bytes that are not UTF-8.
    #[error("{variable} is not UTF-8; correct what set it")]
    NotUnicode {
        /// The variable.
        variable: &'static str,
    },
    /// The token given as text cannot be sent.
    #[error("{origin} {problem}")]
    Token {
        /// The variable, or `token` for one given in code.
        origin: &'static str,
        /// What is wrong with it.
        problem: AuthorizationTokenError,
    },
    /// An `https` endpoint, and no TLS in this build.
    #[error("the endpoint is https: build pod-identity-provider with its feature `rustls`")]
    TlsDisabled,
    /// An `https` endpoint, and a transport that [cannot](crate::Transport::supports_https) reach it.
    #[error("the endpoint is https, which the transport does not support: give it TLS settings")]
    TransportWithoutTls,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
}

impl ConfigError {
    /// Whether nothing is configured, so that a chain asks the next provider.
    pub fn is_not_configured(&self) -> bool {
        matches!(self, Self::NotConfigured)
    }
}
