use std::fmt;

use pod_identity_core::{Timestamp, TokenDigest};

use crate::fault::mock::Record;
use crate::fault::requester::Requester;
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
    /// The path with its query.
    pub path: String,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// The header `Accept`.
    pub accept: Option<String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
    /// The digest of the bearer token.
    pub token: Option<TokenDigest>,
    /// What it was answered; `None` while it waits, and when it never was.
    pub outcome: Option<Outcome>,
}

impl fmt::Display for ApiServerRequest {
    /// One line without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            connection,
            method,
            path,
            ..
        } = self;
        write!(f, "{at}  connection {connection}  {method} {path}")?;
        match self.outcome.as_ref().and_then(|outcome| outcome.status) {
            Some(status) => write!(f, "  {status}"),
            None => f.write_str("  not answered"),
        }
    }
}

impl Record for ApiServerRequest {
    fn requester(&self) -> Requester<'_> {
        Requester::new(self.token, None)
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}
