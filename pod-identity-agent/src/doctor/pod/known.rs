use std::net::SocketAddr;

use bytes::Bytes;
use http::Response;
use pod_identity_core::{AuthorizationToken, Credentials, Endpoint};

use crate::doctor::surroundings::Surroundings;

/// What a walk in a pod knows so far.
pub(super) struct Known {
    pub(super) around: Surroundings,
    pub(super) call_sts: bool,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) token: Option<AuthorizationToken>,
    /// Where the agent accepts connections.
    pub(super) address: Option<SocketAddr>,
    /// The last answer, a success.
    pub(super) success: Option<Response<Bytes>>,
    pub(super) credentials: Option<Credentials>,
}

impl Known {
    pub(super) fn new(around: Surroundings, call_sts: bool) -> Self {
        Self {
            around,
            call_sts,
            endpoint: None,
            token: None,
            address: None,
            success: None,
            credentials: None,
        }
    }
}
