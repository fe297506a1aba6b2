use std::mem;

use pod_identity_core::{Timestamp, TokenDigest};

use crate::fault::requester::Requester;
use crate::mock::record::record;
use crate::record::recorder::Recorded;
use crate::record::size;
use crate::{Operation, Outcome};

/// What a [`MockApiServer`](crate::MockApiServer) has seen of one request. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiServerRequest {
    /// When its body had been read, by the mock's clock.
    pub at: Timestamp,
    /// Which connection it came over, counted from 1.
    pub connection: u64,
    /// What it asked for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// The path with its query, in which secrets are redacted.
    pub path: String,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// The header `Accept`.
    pub accept: Option<String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The body. One with a secret in it is written anew without the secret.
    pub body: String,
    /// The digest of the bearer token.
    pub token: Option<TokenDigest>,
    /// How many requests to the same operation waited for their answer when it arrived, itself included.
    pub in_flight: usize,
    /// What it was answered; `None` while it waits, and when it never was.
    pub outcome: Option<Outcome>,
}

impl Recorded for ApiServerRequest {
    fn is_like(&self, other: &Self) -> bool {
        self.operation == other.operation
    }

    fn set_in_flight(&mut self, count: usize) {
        self.in_flight = count;
    }

    fn size(&self) -> usize {
        let texts = [
            Some(&self.method),
            Some(&self.path),
            self.user_agent.as_ref(),
            self.accept.as_ref(),
            self.content_type.as_ref(),
            Some(&self.body),
        ];
        mem::size_of::<Self>() + texts.into_iter().map(size::of_option).sum::<usize>()
    }
}

impl ApiServerRequest {
    fn asked_by(&self) -> Requester<'_> {
        Requester::new(self.token, None)
    }

    fn in_one_line(&self) -> String {
        format!("{}  {} {}", self.operation, self.method, self.path)
    }
}

record!(ApiServerRequest);
