use crate::{AgentRequest, Expectations};

/// What is to be true of requests to the node agent only.
impl Expectations<'_, AgentRequest> {
    /// Expects every request to have the token that is in the volume when it arrives. Without a
    /// rotation before a request this cannot be told, and the expectation fails.
    pub fn token_reread(self) -> Self {
        self.none(
            |request| request.token_age != Some(0),
            "did not bring the current token",
            |request| request.rotations > 0,
            "no request came after a rotation, so none had to read the token again",
        )
    }

    /// Expects that no request has `Bearer ` before the token.
    pub fn no_bearer_prefix(self) -> Self {
        self.none(
            |request| request.bearer_prefix,
            "has `Bearer ` before its token",
            |request| request.token.is_some(),
            "no request came with a token",
        )
    }
}
