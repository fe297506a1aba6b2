use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;

/// Why EKS Auth cannot be called, or why an answer is not from EKS Auth.
///
/// `Display` is safe to show to pods, in answers and at `/readyz`: it holds no secret and nothing that the
/// sources of the agent's own credentials printed. [`source`](Error::source) holds the cause, for the
/// agent's log.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Neither the environment, the shared files nor instance metadata name a region.
    #[error("no region is known: set AWS_REGION, or allow instance metadata")]
    NoRegion,
    /// The region has characters other than letters, digits and hyphens.
    #[error(
        "the region is {region:?}, which no region is: check AWS_REGION and the shared config file"
    )]
    MalformedRegion {
        /// The region, without surrounding white space.
        region: String,
    },
    /// The file that `AWS_CA_BUNDLE` names cannot be read or holds no certificate.
    #[error("AWS_CA_BUNDLE names {}, which cannot be used: {source}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// The system's root certificates cannot be read, because there are too many open files or there is no memory.
    #[error("the root certificates of this system cannot be read; the agent's log has the cause")]
    SystemRoots {
        /// The operating system's error, with the file. Pods are not told what the node's files are.
        source: Cause,
    },
    /// The shared config or credentials file is malformed.
    #[error(
        "the shared config and credentials files cannot be read; the agent's log has the cause"
    )]
    SharedFiles {
        /// The file, the line and the cause. Pods are not told what the node's files are.
        reason: String,
    },
    /// The region has no endpoint, or the settings contradict each other: FIPS with a custom endpoint.
    #[error("EKS Auth has no endpoint: {source}")]
    NoEndpoint {
        /// The rule that is violated.
        source: Cause,
    },
    /// No source of the agent's own credentials has any. The text names only the kind of failure.
    #[error("the agent has no credentials of its own: {summary}; its log has the cause")]
    NoCredentials {
        /// The kind of failure.
        summary: &'static str,
        /// The error of the chain of sources, which can contain the output of a `credential_process`.
        source: Cause,
    },
    /// No connection to EKS Auth, or to the proxy before it.
    #[error("{address} cannot be connected to: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The operating system's error.
        source: Cause,
    },
    /// The exchange failed in transport: connection, TLS, proxy, or a truncated answer.
    #[error("{reason}")]
    Transport {
        /// The error and its causes.
        reason: String,
    },
    /// An answer without an AWS error code: from a proxy or a load balancer, not from EKS Auth.
    #[error("HTTP {status} without an AWS error code, as a proxy answers")]
    NotEksAuth {
        /// The status.
        status: u16,
        /// The beginning of the body, on one line. A proxy may repeat the request in it, so pods are not told, and
        /// neither the pod's token nor any other long word is in it.
        excerpt: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Any other reason.
    #[error(transparent)]
    Other(Cause),
}

impl Unavailable {
    pub(crate) fn no_credentials(error: CredentialsError) -> Self {
        Self::NoCredentials {
            summary: Self::summary(&error),
            source: Arc::new(error),
        }
    }

    /// Returns the kind of a failure, without output or answers of a source.
    pub(crate) fn summary(error: &CredentialsError) -> &'static str {
        match error {
            CredentialsError::CredentialsNotLoaded(_) => "no source has any",
            CredentialsError::ProviderTimedOut(_) => "a source did not answer in time",
            CredentialsError::InvalidConfiguration(_) => "a source is configured wrongly",
            _ => "a source failed",
        }
    }

    /// The text for the log, and for `/readyz` where pods cannot ask, with the cause that they are not told.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::NotEksAuth { excerpt, .. } => format!("{self}: {excerpt}"),
            Self::SharedFiles { reason } => format!("{self}: {reason}"),
            Self::SystemRoots { source } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// A reason of another implementation of [`EksAuth`](crate::EksAuth). Its text must be safe to show to
    /// pods.
    pub fn other(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(Arc::from(reason.into()))
    }
}

/// Two reasons are equal if they read the same: causes cannot be compared.
impl PartialEq for Unavailable {
    fn eq(&self, other: &Self) -> bool {
        self.in_full() == other.in_full()
    }
}

impl Eq for Unavailable {}

/// The cause of an [`Unavailable`].
pub type Cause = Arc<dyn Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_pods_are_told_the_kind_of_the_failure_only() {
        let printed = "AKIANODE: no such profile";
        for (error, kind) in [
            (CredentialsError::not_loaded(printed), "no source has any"),
            (
                CredentialsError::provider_timed_out(Duration::from_secs(1)),
                "a source did not answer in time",
            ),
            (
                CredentialsError::invalid_configuration(printed),
                "a source is configured wrongly",
            ),
            (CredentialsError::provider_error(printed), "a source failed"),
        ] {
            let unavailable = Unavailable::no_credentials(error);
            let text =
                format!("the agent has no credentials of its own: {kind}; its log has the cause");
            assert_eq!(unavailable.to_string(), text);
            assert_eq!(unavailable.in_full(), text);
        }
    }

    #[test]
    fn the_log_is_told_the_cause_that_pods_are_not() {
        let proxy = |excerpt: &str| Unavailable::NotEksAuth {
            status: 403,
            excerpt: excerpt.to_owned(),
        };
        let files = |reason: &str| Unavailable::SharedFiles {
            reason: reason.to_owned(),
        };
        for (one, other) in [
            (proxy("blocked"), proxy("quota")),
            (files("line 3"), files("line 4")),
        ] {
            assert_eq!(one.to_string(), other.to_string());
            assert_ne!(one, other, "the log has another cause");
            assert_eq!(one, one.clone());
        }
        assert!(proxy("blocked").in_full().ends_with(": blocked"));
        assert!(files("line 3").in_full().ends_with(": line 3"));
        assert_ne!(Unavailable::other("no route"), Unavailable::other("no DNS"));
    }
}
