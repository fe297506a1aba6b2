use std::fmt;

use crate::{Secret, Timestamp};

/// A set of temporary AWS credentials.
///
/// `Debug` prints the access key id, the account and the expiration. It never prints the secret access key or the
/// session token, whose memory is overwritten on drop.
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
    /// Creates a set without an account id.
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

    /// Sets the 12-digit id of the account that the role belongs to. Defaults to none.
    pub fn with_account_id(mut self, account_id: impl Into<String>) -> Self {
        self.account_id = Some(account_id.into());
        self
    }

    /// Returns the access key id, which is not a secret. For temporary credentials it is `ASIA` and 16 more
    /// characters.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Returns the secret access key.
    pub fn secret_access_key(&self) -> &Secret {
        &self.secret_access_key
    }

    /// Returns the session token.
    pub fn session_token(&self) -> &Secret {
        &self.session_token
    }

    /// Returns the id of the account that the role belongs to, if the agent sent it.
    pub fn account_id(&self) -> Option<&str> {
        self.account_id.as_deref()
    }

    /// Returns when services stop accepting this set.
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
