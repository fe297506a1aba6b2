use std::mem;

use http::HeaderMap;
use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};

use crate::fault::requester::Requester;
use crate::http::outcome::Outcome;
use crate::mock::record::record;
use crate::record::recorder::Recorded;
use crate::record::size;

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
    /// The path with its query, in which secrets are redacted.
    pub path: String,
    /// The header `Host`; a token in it is redacted.
    pub host: Option<String>,
    /// Every header. `Authorization`, and any other that holds a token, is marked as sensitive, so that `Debug` leaves
    /// it out.
    pub headers: HeaderMap,
    /// The digest of the value of the header `Authorization`.
    pub token: Option<TokenDigest>,
    /// Whether it began with `Bearer `, which the agent does not understand.
    pub bearer_prefix: bool,
    /// The age of the token in the mock's own volume, without `Bearer `: 0 for the current one, 1 for the
    /// previous one; `None` if it was never there.
    pub token_age: Option<usize>,
    /// How often the token of the mock's own volume had been rotated when it arrived.
    pub rotations: usize,
    /// How many requests waited for their answer when it arrived, itself included.
    pub in_flight: usize,
    /// What the token claims, without `Bearer `, if it is one.
    pub claims: Option<UnverifiedClaims>,
    /// The outcome; `None` while the request waits, and if the client disconnected before the answer.
    pub outcome: Option<Outcome>,
}

impl Recorded for AgentRequest {
    fn is_like(&self, _other: &Self) -> bool {
        true
    }

    fn set_in_flight(&mut self, count: usize) {
        self.in_flight = count;
    }

    fn size(&self) -> usize {
        let texts = [Some(&self.method), Some(&self.path), self.host.as_ref()];
        let texts = texts.into_iter().map(size::of_option).sum::<usize>();
        let claims = self.claims.as_ref().map_or(0, size::of_claims);
        mem::size_of::<Self>() + texts + size::of_headers(&self.headers) + claims
    }
}

impl AgentRequest {
    fn asked_by(&self) -> Requester<'_> {
        Requester {
            token_age: self.token_age,
            ..Requester::new(self.token, self.claims.as_ref())
        }
    }

    fn in_one_line(&self) -> String {
        let token = match (self.token_age, &self.token) {
            (Some(0), _) => "current token".to_owned(),
            (Some(age), _) => format!("token of {age} rotations ago"),
            (None, Some(token)) => format!("{token:?}"),
            (None, None) => "no token".to_owned(),
        };
        let bearer = if self.bearer_prefix { "Bearer " } else { "" };
        format!("{} {}  {bearer}{token}", self.method, self.path)
    }
}

record!(AgentRequest);
