use pod_identity_core::{Credentials, FailureClass};
use reqsign_aws_core::Credential;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Error, ErrorKind, ProvideCredential, Result};

use crate::{FetchError, PodIdentityProvider};

impl ProvideCredential for PodIdentityProvider {
    type Credential = Credential;

    /// As [`credentials`](PodIdentityProvider::credentials); `None`, so that a chain asks the next
    /// provider, where nothing is configured. The context is not used.
    async fn provide_credential(&self, _context: &Context) -> Result<Option<Credential>> {
        match self.credentials().await {
            Ok(credentials) => Ok(Some(convert(&credentials))),
            Err(FetchError::NotConfigured) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<FetchError> for Error {
    /// Keeps the text and whether trying again may help.
    fn from(error: FetchError) -> Self {
        let kind = match (&error, error.class()) {
            (FetchError::NotConfigured | FetchError::Configuration(_), _) => {
                ErrorKind::ConfigInvalid
            }
            (_, FailureClass::Throttled) => ErrorKind::RateLimited,
            (FetchError::Refused { .. }, FailureClass::Gone | FailureClass::Denied) => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Unexpected,
        };
        Self::new(kind, error.to_string())
            .set_retryable(error.is_retryable())
            .with_source(error)
    }
}

fn convert(credentials: &Credentials) -> Credential {
    let expiration = credentials.expiration().as_unix_millis();
    let session_token = credentials.session_token().expose();
    Credential {
        access_key_id: credentials.access_key_id().to_owned(),
        secret_access_key: credentials.secret_access_key().expose().to_owned(),
        // A long-lived key has none.
        session_token: (!session_token.is_empty()).then(|| session_token.to_owned()),
        // It cannot hold the last day of the year 9999; a set that expires then does not expire.
        expires_in: Timestamp::from_millisecond(expiration).ok(),
    }
}
