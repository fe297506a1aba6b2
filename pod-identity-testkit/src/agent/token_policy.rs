use std::time::Duration;

use pod_identity_core::wire::agent::Refusal;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{ClaimError, Secret, ServiceAccountToken, Timestamp};

use crate::agent::official;
use crate::agent::refused::refused;
use crate::http::answer::Answer;
use crate::{AgentMode, Issuer, ServiceError, TokenBuilder};

/// The tokens that a [`MockAgent`](crate::MockAgent) accepts.
///
/// A token that fails a check of the official agent is refused with its text and a status of 400; one that
/// only EKS Auth can judge is refused with an `InvalidTokenException` that is passed on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// Accepts any token, even none at all.
    Any,
    /// Accepts this token.
    Exact(Secret),
    /// Accepts a token that has the form of a service-account token and is valid by the mock's clock. This is
    /// what the official agent itself checks; `Bearer ` before the token is refused.
    #[default]
    JwtShaped,
    /// Accepts the token that is in the mock's volume now.
    Current,
    /// Accepts the token that is in the mock's volume now, or the previous one.
    CurrentOrPrevious,
    /// Accepts tokens of this issuer for the audience of Pod Identity with a valid signature and valid times.
    Verified(Issuer),
}

impl TokenPolicy {
    /// `age`: how many tokens have come after it in the mock's volume.
    pub(crate) fn check(
        &self,
        mode: AgentMode,
        token: &str,
        age: Option<usize>,
        now: Timestamp,
    ) -> Result<(), Box<Answer>> {
        let own = || match mode {
            AgentMode::Ours => agents_own_checks(token, now).map_err(|error| boxed(&error)),
            AgentMode::Official => {
                official::check_token(token, now).map_err(|error| Box::new(error.into()))
            }
        };
        let known = |is_known: bool| is_known.then_some(()).ok_or_else(unknown);
        match self {
            Self::Any => return Ok(()),
            Self::Exact(expected) if expected.expose() == token => return Ok(()),
            Self::Exact(_) if token.is_empty() => return own(),
            Self::Exact(_) => return Err(unknown()),
            _ => own()?,
        }
        match self {
            Self::Current => known(age == Some(0)),
            Self::CurrentOrPrevious => known(age.is_some_and(|age| age <= 1)),
            Self::Verified(issuer) => {
                verified(issuer, token, now).map_err(|error| boxed(&error.into()))
            }
            _ => Ok(()),
        }
    }
}

fn agents_own_checks(token: &str, now: Timestamp) -> Result<(), Refusal> {
    let token = ServiceAccountToken::parse(token)?;
    let checked = token
        .claims()
        .check(now, Duration::ZERO, TokenBuilder::AUDIENCE);
    match checked {
        // The official agent leaves the audience to EKS Auth.
        Ok(()) | Err(ClaimError::Audience) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn verified(issuer: &Issuer, token: &str, now: Timestamp) -> Result<(), ServiceError> {
    let invalid = |cause: String| {
        ServiceError::new(ErrorCode::InvalidToken).message(format!(
            "The token included in the request is invalid: {cause}."
        ))
    };
    let claims = issuer
        .verify(token)
        .map_err(|error| invalid(error.to_string()))?;
    claims
        .check(now, Duration::ZERO, TokenBuilder::AUDIENCE)
        .map_err(|error| invalid(error.to_string()))
}

fn unknown() -> Box<Answer> {
    boxed(&ServiceError::new(ErrorCode::InvalidToken).into())
}

fn boxed(refusal: &Refusal) -> Box<Answer> {
    Box::new(refused(refusal))
}
