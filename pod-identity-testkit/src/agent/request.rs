use http::HeaderMap;
use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};

use crate::Ending;

/// What a [`MockAgent`](crate::MockAgent) has seen of one request. Its `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentRequest {
    /// When its head had been read, by the mock's clock.
    pub at: Timestamp,
    /// Which connection it came over, counted from 1.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header `Host`.
    pub host: Option<String>,
    /// Every header. `Authorization` is marked as sensitive, so that `Debug` leaves it out.
    pub headers: HeaderMap,
    /// The digest of what the header `Authorization` held.
    pub token: Option<TokenDigest>,
    /// Whether it began with `Bearer `, which the agent does not understand.
    pub bearer_prefix: bool,
    /// How old the token was in the mock's own volume, without `Bearer `: 0 for the current one, 1 for the
    /// one before it; `None` when it never was there.
    pub token_age: Option<usize>,
    /// What the token claims, without `Bearer `, if it is one.
    pub claims: Option<UnverifiedClaims>,
    /// What it was answered; `None` while it waits, and when the client left before.
    pub outcome: Option<AgentOutcome>,
}

/// What a request to a [`MockAgent`](crate::MockAgent) was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentOutcome {
    /// The HTTP status; `None` when the connection ended before one was sent.
    pub status: Option<u16>,
    /// The access key id in it.
    pub access_key_id: Option<String>,
    /// How a fault ended the connection.
    pub ending: Option<Ending>,
}

impl AgentOutcome {
    /// The connection ended before there was an answer.
    pub(crate) fn silent(ending: Option<Ending>) -> Self {
        Self {
            status: None,
            access_key_id: None,
            ending,
        }
    }
}
