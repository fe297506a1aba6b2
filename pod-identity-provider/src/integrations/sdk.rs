use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use crate::{ConfigError, FetchError, PodIdentityProvider};

impl ProvideCredentials for PodIdentityProvider {
    /// Ready at its first poll while a valid set is held; else as [`credentials`](PodIdentityProvider::credentials).
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.with_current(|set| set.sdk().clone()) {
            Some(credentials) => future::ProvideCredentials::ready(Ok(credentials)),
            None => future::ProvideCredentials::new(async move {
                Ok(self.current_or_fetch().await?.sdk().clone())
            }),
        }
    }

    /// The valid set that is held, if there is one, for a call that ran out of time.
    fn fallback_on_interrupt(&self) -> Option<SdkCredentials> {
        self.peek().map(|set| set.sdk().clone())
    }
}

impl From<FetchError> for CredentialsError {
    /// `not_loaded` only where nothing is configured, so that a chain never goes past a provider that is
    /// configured but failing.
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotConfigured => Self::not_loaded(error),
            FetchError::Configuration(_) => Self::invalid_configuration(error),
            FetchError::Malformed(_) => Self::unhandled(error),
            // Not `provider_timed_out`, which has room for a duration only: its text would name neither the
            // endpoint nor the stage.
            FetchError::TimedOut { .. }
            | FetchError::Token(_)
            | FetchError::Unresolved { .. }
            | FetchError::Unreachable { .. }
            | FetchError::Refused { .. }
            | FetchError::Interrupted
            | FetchError::Panicked { .. }
            | FetchError::NoRuntime
            | FetchError::RuntimeWithoutTime
            | FetchError::RuntimeShutDown
            | FetchError::RuntimeOfParent => Self::provider_error(error),
        }
    }
}

impl From<ConfigError> for CredentialsError {
    fn from(error: ConfigError) -> Self {
        FetchError::from(error).into()
    }
}
