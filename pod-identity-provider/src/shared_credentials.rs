use std::borrow::Borrow;
use std::sync::Arc;

#[cfg(feature = "aws")]
use aws_credential_types::credential_feature::AwsCredentialFeature;
use pod_identity_core::{CredentialSet, Credentials, Expiring, Timestamp};

/// One set of credentials in each form in which callers want it. Cloning it allocates nothing.
#[derive(Debug, Clone)]
pub(crate) struct SharedCredentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credentials: Arc<Credentials>,
    #[cfg(feature = "aws")]
    sdk: aws_credential_types::Credentials,
}

impl SharedCredentials {
    /// Returns the same set, announced to the AWS SDK to expire at this time at the latest.
    #[cfg(feature = "aws")]
    pub(crate) fn announced_until(&self, until: Timestamp) -> Self {
        let credentials = self.0.credentials.clone();
        Self(Arc::new(Inner {
            sdk: to_sdk(&credentials, credentials.expiration().min(until)),
            credentials,
        }))
    }

    /// Returns the same set: nothing caches it.
    #[cfg(not(feature = "aws"))]
    pub(crate) fn announced_until(&self, _until: Timestamp) -> Self {
        self.clone()
    }

    /// Returns the same set with another expiry.
    pub(crate) fn expiring_at(&self, expiration: Timestamp) -> Self {
        let held = &self.0.credentials;
        let copy = Credentials::new(
            held.access_key_id(),
            held.secret_access_key().clone(),
            held.session_token().clone(),
            expiration,
        );
        Self::from(match held.account_id() {
            Some(account_id) => copy.with_account_id(account_id),
            None => copy,
        })
    }

    pub(crate) fn credentials(&self) -> &Arc<Credentials> {
        &self.0.credentials
    }

    #[cfg(feature = "aws")]
    pub(crate) fn sdk(&self) -> &aws_credential_types::Credentials {
        &self.0.sdk
    }
}

impl From<Credentials> for SharedCredentials {
    fn from(credentials: Credentials) -> Self {
        Self(Arc::new(Inner {
            #[cfg(feature = "aws")]
            sdk: to_sdk(&credentials, credentials.expiration()),
            credentials: Arc::new(credentials),
        }))
    }
}

impl Expiring for SharedCredentials {
    fn expiration(&self) -> Timestamp {
        self.0.credentials.expiration()
    }
}

impl CredentialSet for SharedCredentials {
    fn is_same_set(&self, other: &Self) -> bool {
        self.credentials().is_same_set(other.credentials())
    }
}

impl Borrow<Credentials> for SharedCredentials {
    fn borrow(&self) -> &Credentials {
        &self.0.credentials
    }
}

#[cfg(feature = "aws")]
fn to_sdk(credentials: &Credentials, expiry: Timestamp) -> aws_credential_types::Credentials {
    let builder = aws_credential_types::Credentials::builder()
        .access_key_id(credentials.access_key_id())
        .secret_access_key(credentials.secret_access_key().expose())
        .expiry(expiry.into())
        .provider_name(PROVIDER_NAME);
    let builder = match credentials.account_id() {
        Some(account_id) => builder.account_id(account_id),
        None => builder,
    };
    // A long-lived key has none, and an empty one would be signed and sent.
    let builder = match credentials.session_token().expose() {
        "" => builder,
        token => builder.session_token(token),
    };
    let mut sdk = builder.build();
    sdk.set_property(vec![AwsCredentialFeature::CredentialsHttp]);
    sdk
}

/// What the SDK's logs and errors call this provider.
#[cfg(feature = "aws")]
const PROVIDER_NAME: &str = "PodIdentity";
