use std::path::PathBuf;
use std::time::Duration;

use pod_identity_core::{AuthorizationToken, Secret, TokenFile, TokenFileError, variables};

use crate::ConfigError;
use crate::fetch::token_reader::TokenReader;

/// Where the authorization token comes from.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// Read for every fetch, because kubelet replaces it.
    File(TokenReader),
    /// Given once.
    Text(AuthorizationToken),
    /// Requests carry no token, as on ECS.
    Absent,
}

impl TokenSource {
    /// Reads the variables. `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` wins over `AWS_CONTAINER_AUTHORIZATION_TOKEN`; a blank
    /// variable is an unset one. White space around the path is removed, as around the URI.
    pub(crate) fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let set = |name| lookup(name).filter(|value| !value.trim().is_empty());
        if let Some(path) = set(variables::TOKEN_FILE) {
            return Ok(Self::file(path.trim()));
        }
        match set(variables::TOKEN) {
            Some(text) => Self::text(&Secret::from(text), variables::TOKEN),
            None => Ok(Self::Absent),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(TokenReader::new(TokenFile::new(path)))
    }

    pub(crate) fn text(text: &Secret, origin: &'static str) -> Result<Self, ConfigError> {
        match AuthorizationToken::parse(text.expose().as_bytes()) {
            Ok(token) => Ok(Self::Text(token)),
            Err(problem) => Err(ConfigError::Token { origin, problem }),
        }
    }

    /// Returns the token to send now, or `None` to send none.
    pub(crate) async fn read(
        &self,
        within: Duration,
    ) -> Result<Option<AuthorizationToken>, TokenFileError> {
        match self {
            Self::File(file) => match tokio::time::timeout(within, file.read(within)).await {
                Ok(outcome) => outcome.map(Some),
                Err(_elapsed) => Err(file.timed_out(within)),
            },
            Self::Text(text) => Ok(Some(text.clone())),
            Self::Absent => Ok(None),
        }
    }
}
