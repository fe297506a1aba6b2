use std::time::Duration;

use crate::Timestamp;

/// The period in which a token is valid: from `nbf` until `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// `exp`: the token is not accepted at or after this time.
    pub expires_at: Timestamp,
    /// `nbf`: the token is not accepted before this time.
    pub not_before: Option<Timestamp>,
}

impl Validity {
    /// Checks that the token is valid at `now`.
    ///
    /// `leeway` applies only to `nbf`, because the node's clock may be slower than the API server's. It does not
    /// extend the validity of a token.
    ///
    /// # Errors
    /// [`ClaimError::Expired`] or [`ClaimError::NotYetValid`].
    pub fn check(&self, now: Timestamp, leeway: Duration) -> Result<(), ClaimError> {
        let starts = self.not_before.unwrap_or(Timestamp::MIN);
        if now >= self.expires_at {
            Err(ClaimError::Expired)
        } else if now + leeway < starts {
            Err(ClaimError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// `exp` has passed. Remedy: read the token file for every fetch.
    #[error("token is expired")]
    Expired,
    /// `nbf` is in the future. Remedy: correct the clocks.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `aud` names another service. Remedy: project the token for the audience that the agent expects.
    #[error("token has an invalid audience")]
    Audience,
}
