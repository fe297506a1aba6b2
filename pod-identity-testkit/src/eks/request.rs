use std::fmt;

use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};

use crate::fault::mock::Record;
use crate::fault::requester::Requester;
use crate::{Operation, Outcome, SignatureError};

/// What a [`MockEksAuth`](crate::MockEksAuth) recorded of one request. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// When its body had been read, by the mock's clock.
    pub at: Timestamp,
    /// The number of its connection, counted from 1.
    pub connection: u64,
    /// The operation.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// The path with its query, in which the secrets of a presigned request are redacted.
    pub path: String,
    /// The cluster named in the path.
    pub cluster: Option<String>,
    /// The header `Host`.
    pub host: Option<String>,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// The digest of the token in the body.
    pub token: Option<TokenDigest>,
    /// The claims of the token, if it has any.
    pub claims: Option<UnverifiedClaims>,
    /// `eksNodeName` in the body.
    pub eks_node_name: Option<String>,
    /// `instanceId` in the body.
    pub instance_id: Option<String>,
    /// `zone` in the body.
    pub zone: Option<String>,
    /// The error of its signature, as far as [`SignatureCheck`](crate::SignatureCheck) checks it.
    pub signature_error: Option<SignatureError>,
    /// The outcome; `None` while the request waits, and if it was never answered.
    pub outcome: Option<Outcome>,
}

impl fmt::Display for RecordedRequest {
    /// One line without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            connection,
            operation,
            method,
            path,
            ..
        } = self;
        write!(
            f,
            "{at}  connection {connection}  {operation}  {method} {path}"
        )?;
        match self.outcome.as_ref().and_then(|outcome| outcome.status) {
            Some(status) => write!(f, "  {status}"),
            None => f.write_str("  not answered"),
        }
    }
}

impl Record for RecordedRequest {
    fn requester(&self) -> Requester<'_> {
        Requester::new(self.token, self.claims.as_ref())
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}
