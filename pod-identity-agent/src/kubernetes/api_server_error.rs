use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pod_identity_core::{JsonObject, TokenFileError};

use crate::telemetry::printable::excerpt;

/// Why a URL is not that of an API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the URL of an API server without a path, such as https://10.100.0.1:443; http is for loopback only"
)]
#[non_exhaustive]
pub struct ApiServerUrlError;

/// Why a request to the API server has no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiServerError {
    /// The token of the service account cannot be read.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// The certificate authority of the cluster cannot be read.
    #[error("the cluster's certificate authority at {} cannot be used: {message}", path.display())]
    CertificateAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// There is no connection to it, or none that is trusted.
    #[error("the API server cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// The connection ended, or its bytes are not HTTP.
    #[error("the connection to the API server broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It does not answer.
    #[error("the API server has not answered within {0:?}")]
    TimedOut(Duration),
    /// It refuses the request, or fails.
    #[error(transparent)]
    Refused(Refused),
    /// Its answer is not what was asked for.
    #[error("the answer of the API server is not understood: {0}")]
    Malformed(String),
}

/// An answer other than a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// What the API server says about it: at most 300 printable characters, or nothing.
    pub(crate) message: String,
}

impl Refused {
    /// `text` is a `Status` of Kubernetes, or what something in between has written.
    pub(crate) fn new(status: u16, text: &str) -> Self {
        let parsed: Option<JsonObject<Status>> = serde_json::from_str(text).ok();
        let message = parsed.and_then(|JsonObject(status)| status.message);
        let message = message.as_deref().unwrap_or(text);
        Self {
            status,
            message: excerpt(message, MAX_MESSAGE),
        }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = match self.status {
            401 => "; the token of the service account is not accepted",
            403 => "; give the agent's service account this permission",
            _ => "",
        };
        write!(
            f,
            "the API server answered {}: {}{remedy}",
            self.status, self.message
        )
    }
}

/// The member that is read of a `Status`.
#[derive(serde::Deserialize)]
struct Status {
    message: Option<String>,
}

const MAX_MESSAGE: usize = 300;
