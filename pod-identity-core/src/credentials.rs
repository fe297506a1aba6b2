use std::fmt;

use crate::{Secret, Timestamp};

/// A set of temporary AWS credentials.
///
/// `Debug` shows the access key id, the account and the expiry, never the secret key or the session
/// token; both are overwritten in memory on drop.
///
/// ```
/// use pod_identity_core::{Credentials, Secret, Timestamp};
///
/// let credentials = Credentials::new(
///     "ASIAIOSFODNN7EXAMPLE",
///     Secret::from("wJalrXUtnFEMI".to_owned()),
///     Secret::from("FwoGZXIvYXdzEJr".to_owned()),
///     Timestamp::from_unix_secs(1_772_366_400),
/// );
/// assert!(!format!("{credentials:?}").contains("wJalr"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Secret,
    account_id: Option<String>,
    expiration: Timestamp,
}

impl Credentials {
    /// A set without an account id.
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: Secret,
        session_token: Secret,
        expiration: Timestamp,
    ) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key,
            session_token,
            account_id: None,
            expiration,
        }
    }

    /// The same set with the 12-digit account that the role belongs to.
    pub fn with_account_id(mut self, account_id: impl Into<String>) -> Self {
        self.account_id = Some(account_id.into());
        self
    }

    /// The access key id; `ASIA` and 16 more characters for temporary credentials. Not a secret.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The secret access key.
    pub fn secret_access_key(&self) -> &Secret {
        &self.secret_access_key
    }

    /// The session token.
    pub fn session_token(&self) -> &Secret {
        &self.session_token
    }

    /// The account that the role belongs to, where the agent told it.
    pub fn account_id(&self) -> Option<&str> {
        self.account_id.as_deref()
    }

    /// When the service stops accepting this set.
    pub fn expiration(&self) -> Timestamp {
        self.expiration
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("account_id", &self.account_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}
