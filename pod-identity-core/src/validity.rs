use std::time::Duration;

use crate::Timestamp;

/// The time in which a token may be used: from `nbf` until `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// From this time on the token is not accepted.
    pub expires_at: Timestamp,
    /// Before this time the token is not accepted.
    pub not_before: Option<Timestamp>,
}

impl Validity {
    /// Whether the token may be used at `now`.
    ///
    /// `leeway` applies to `nbf` only, because a node's clock may be behind the API server's. It does not
    /// prolong the life of a token.
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

/// Why a token may not be used now or here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// `exp` has passed. Cure: read the token file for every fetch.
    #[error("token is expired")]
    Expired,
    /// `nbf` has not come. Cure: correct the clocks.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `aud` names another service. Cure: project the token for the audience that the agent expects.
    #[error("token has an invalid audience")]
    Audience,
}
