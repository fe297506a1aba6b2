use std::collections::BTreeMap;
use std::mem;

use pod_identity_core::{Timestamp, TokenDigest, UnverifiedClaims};
use serde_json::Value;

use crate::fault::requester::Requester;
use crate::mock::record::record;
use crate::record::recorder::Recorded;
use crate::record::size;
use crate::{Operation, Outcome, SignatureError};

/// What a [`MockEksAuth`](crate::MockEksAuth) has seen of one request. There is no secret in it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// When its body had been read, by the mock's clock.
    pub at: Timestamp,
    /// The number of its connection, counted from 1.
    pub connection: u64,
    /// The operation.
    pub operation: Operation,
    /// The name of that operation; of an operation that the mock does not have, its service and its own name, such
    /// as `iam:ListRoles` or `s3:GET`.
    pub action: String,
    /// The HTTP method.
    pub method: String,
    /// The path with its query, in which the secrets of a presigned request are redacted.
    pub path: String,
    /// The parameters of the query and of a form, decoded; secrets are redacted.
    pub parameters: BTreeMap<String, String>,
    /// The body, if it is JSON. Tokens, and members whose names are those of secrets, are redacted.
    pub body: Option<Value>,
    /// The cluster named in the path. A token in the place of a name is redacted, here and everywhere.
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
    /// Whether the mock has verified its signature: that of STS always, others as
    /// [`SignatureCheck`](crate::SignatureCheck) says.
    pub is_verified: bool,
    /// What is wrong with its signature, as far as [`SignatureCheck`](crate::SignatureCheck) has looked.
    pub signature_error: Option<SignatureError>,
    /// How many requests to the same operation with the same token waited for their answer when it arrived, itself
    /// included.
    pub in_flight: usize,
    /// What it was answered; `None` while it waits, and when it never was.
    pub outcome: Option<Outcome>,
}

impl Recorded for RecordedRequest {
    fn is_like(&self, other: &Self) -> bool {
        (&self.action, self.token) == (&other.action, other.token)
    }

    fn set_in_flight(&mut self, count: usize) {
        self.in_flight = count;
    }

    fn size(&self) -> usize {
        let texts = [
            Some(&self.action),
            Some(&self.method),
            Some(&self.path),
            self.cluster.as_ref(),
            self.host.as_ref(),
            self.user_agent.as_ref(),
            self.eks_node_name.as_ref(),
            self.instance_id.as_ref(),
            self.zone.as_ref(),
        ];
        let texts = texts.into_iter().map(size::of_option).sum::<usize>();
        let claims = self.claims.as_ref().map_or(0, size::of_claims);
        let body = self.body.as_ref().map_or(0, size::of_json);
        mem::size_of::<Self>() + texts + size::of_texts(&self.parameters) + body + claims
    }
}

impl RecordedRequest {
    fn asked_by(&self) -> Requester<'_> {
        Requester::new(self.token, self.claims.as_ref())
    }

    fn in_one_line(&self) -> String {
        format!("{}  {} {}", self.action, self.method, self.path)
    }
}

record!(RecordedRequest);
