use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::FetchError;

/// The state of a provider, for a health endpoint. It holds no secrets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct State {
    /// Whether a call would return credentials at once. `false` with an expired set, unless an attempt has
    /// failed in the last second.
    pub ready: bool,
    /// The access key id of the set that is held.
    pub access_key_id: Option<String>,
    /// How long ago the set was fetched.
    pub age: Option<Duration>,
    /// When the set expires, or has expired.
    pub expiration: Option<Timestamp>,
    /// When the next attempt begins. `None` while one is under way, and while nothing is held and there is
    /// no caller.
    pub next_refresh: Option<Timestamp>,
    /// The latest failure since the latest success.
    pub last_error: Option<FetchError>,
    /// Failed attempts in a row. An answer without a newer set is not a failure, and an attempt that was
    /// not carried out is none either.
    pub consecutive_failures: u32,
}

impl State {
    pub(crate) fn failed(error: FetchError) -> Self {
        Self {
            ready: false,
            access_key_id: None,
            age: None,
            expiration: None,
            next_refresh: None,
            last_error: Some(error),
            consecutive_failures: 0,
        }
    }
}
