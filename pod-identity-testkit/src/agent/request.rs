use http::HeaderMap;
use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};

use crate::fault::mock::Record;
use crate::fault::requester::Requester;
use crate::http::outcome::Outcome;

/// What a [`MockAgent`](crate::MockAgent) recorded of one request. Its `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentRequest {
    /// When its head had been read, by the mock's clock.
    pub at: Timestamp,
    /// The number of its connection, counted from 1.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header `Host`.
    pub host: Option<String>,
    /// Every header. `Authorization` is marked as sensitive, so that `Debug` leaves it out.
    pub headers: HeaderMap,
    /// The digest of the value of the header `Authorization`.
    pub token: Option<TokenDigest>,
    /// Whether it began with `Bearer `, which the agent does not understand.
    pub bearer_prefix: bool,
    /// The age of the token in the mock's own volume, without `Bearer `: 0 for the current one, 1 for the
    /// previous one; `None` if it was never there.
    pub token_age: Option<usize>,
    /// The claims of the token, without `Bearer `, if it has any.
    pub claims: Option<UnverifiedClaims>,
    /// The outcome; `None` while the request waits, and if the client disconnected before the answer.
    pub outcome: Option<Outcome>,
}

impl Record for AgentRequest {
    fn requester(&self) -> Requester<'_> {
        Requester {
            token_age: self.token_age,
            ..Requester::new(self.token, self.claims.as_ref())
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}
