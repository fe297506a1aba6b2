use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use pod_identity_core::Credentials;

use crate::{ConfigError, FetchError, PodIdentityProvider};

impl ProvideCredentials for PodIdentityProvider {
    /// Ready at once while a valid set is held; else as [`credentials`](PodIdentityProvider::credentials).
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.at_hand(|set| set.sdk().clone()) {
            Some(credentials) => future::ProvideCredentials::ready(Ok(credentials)),
            None => {
                future::ProvideCredentials::new(
                    async move { Ok(self.obtain().await?.sdk().clone()) },
                )
            }
        }
    }

    /// What is held, for a call that ran out of time.
    fn fallback_on_interrupt(&self) -> Option<SdkCredentials> {
        self.at_hand(|set| set.sdk().clone())
    }
}

impl From<FetchError> for CredentialsError {
    /// `not_loaded` only where nothing is configured, so that a chain never goes past a provider that is
    /// configured but failing.
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotConfigured => Self::not_loaded(error),
            FetchError::Configuration(_) => Self::invalid_configuration(error),
            FetchError::TimedOut { after, .. } => Self::provider_timed_out(after),
            FetchError::Malformed(_) => Self::unhandled(error),
            FetchError::Token(_)
            | FetchError::Unresolved { .. }
            | FetchError::Unreachable { .. }
            | FetchError::Refused { .. }
            | FetchError::Interrupted
            | FetchError::NoRuntime => Self::provider_error(error),
        }
    }
}

impl From<ConfigError> for CredentialsError {
    fn from(error: ConfigError) -> Self {
        FetchError::from(error).into()
    }
}

pub(crate) fn convert(credentials: &Credentials) -> SdkCredentials {
    let builder = SdkCredentials::builder()
        .access_key_id(credentials.access_key_id())
        .secret_access_key(credentials.secret_access_key().expose())
        .session_token(credentials.session_token().expose())
        .expiry(credentials.expiration().into())
        .provider_name(PROVIDER_NAME);
    let builder = match credentials.account_id() {
        Some(account_id) => builder.account_id(account_id),
        None => builder,
    };
    let mut sdk = builder.build();
    sdk.set_property(vec![AwsCredentialFeature::CredentialsHttp]);
    sdk
}

/// What the SDK's logs and errors call this provider.
const PROVIDER_NAME: &str = "PodIdentity";
