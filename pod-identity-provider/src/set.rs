use std::borrow::Borrow;
use std::sync::Arc;

use pod_identity_core::{Credentials, Expiring, Timestamp};

/// A set of credentials in every form that it is handed out in; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Set(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    credentials: Arc<Credentials>,
    #[cfg(feature = "aws")]
    sdk: aws_credential_types::Credentials,
}

impl Set {
    /// The same set with another expiry.
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

impl From<Credentials> for Set {
    fn from(credentials: Credentials) -> Self {
        Self(Arc::new(Forms {
            #[cfg(feature = "aws")]
            sdk: crate::sdk::convert(&credentials),
            credentials: Arc::new(credentials),
        }))
    }
}

impl Expiring for Set {
    fn expiration(&self) -> Timestamp {
        self.0.credentials.expiration()
    }
}

impl Borrow<Credentials> for Set {
    fn borrow(&self) -> &Credentials {
        &self.0.credentials
    }
}
