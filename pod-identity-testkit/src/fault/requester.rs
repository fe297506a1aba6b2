use pod_identity_core::{TokenDigest, UnverifiedClaims};

/// The sender of a request, as far as a fault can select it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requester<'a> {
    pub(crate) token: Option<TokenDigest>,
    /// See [`AgentRequest::token_age`](crate::AgentRequest::token_age).
    pub(crate) token_age: Option<usize>,
    pub(crate) pod: Option<&'a str>,
}

impl<'a> Requester<'a> {
    pub(crate) fn new(token: Option<TokenDigest>, claims: Option<&'a UnverifiedClaims>) -> Self {
        Self {
            token,
            token_age: None,
            pod: claims.and_then(|claims| claims.pod.as_deref()),
        }
    }
}
