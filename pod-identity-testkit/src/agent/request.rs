use http::HeaderMap;
use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};

use crate::fault::mock::Record;
use crate::fault::requester::Requester;
use crate::http::outcome::Outcome;

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
