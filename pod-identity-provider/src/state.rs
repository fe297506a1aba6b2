use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::FetchError;

/// How a provider is doing, for a health endpoint. It holds no secrets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct State {
    /// Whether credentials would be handed out at once.
    pub ready: bool,
    /// The access key id of the set that is held.
    pub access_key_id: Option<String>,
    /// How long ago the set was fetched.
    pub age: Option<Duration>,
    /// When the set expires, or has expired.
    pub expiration: Option<Timestamp>,
    /// When the next attempt begins; `None` while one is under way, and when nothing is held and nobody
    /// asks.
    pub next_refresh: Option<Timestamp>,
    /// The latest failure since the latest success.
    pub last_error: Option<FetchError>,
    /// Failed attempts in a row.
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
