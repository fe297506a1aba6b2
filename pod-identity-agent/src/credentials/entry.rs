use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::wire::agent;
use pod_identity_core::{ClaimError, Expiring, Secret, ServiceAccountToken, Timestamp};

use crate::eks_auth::exchange::Session;

/// What is kept of a token: itself, to ask again, and when it may be used.
pub(crate) struct TokenRequest {
    pub(crate) token: Secret,
    /// Who asked first.
    pub(crate) source: IpAddr,
    expires: Timestamp,
    not_before: Option<Timestamp>,
}

impl TokenRequest {
    pub(crate) fn new(token: &ServiceAccountToken, source: IpAddr) -> Self {
        Self {
            token: Secret::from(token.expose().to_owned()),
            source,
            expires: token.claims().expires_at,
            not_before: token.claims().not_before,
        }
    }

    /// Its claims were read when it was first seen, but time has gone on.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), ClaimError> {
        let starts = self.not_before.unwrap_or(Timestamp::MIN);
        if now >= self.expires {
            Err(ClaimError::Expired)
        } else if now + NOT_BEFORE_LEEWAY < starts {
            Err(ClaimError::NotYetValid)
        } else {
            Ok(())
        }
    }
}

impl Expiring for TokenRequest {
    fn expiration(&self) -> Timestamp {
        self.expires
    }
}

/// What is kept of a session: the answer, ready to send. Its memory is overwritten with the last clone.
pub(crate) struct Entry {
    pub(crate) body: Bytes,
    expires: Timestamp,
}

impl From<Session> for Entry {
    fn from(session: Session) -> Self {
        Self {
            body: Bytes::from_owner(agent::encode(&session.credentials)),
            expires: session.credentials.expiration(),
        }
    }
}

impl Expiring for Entry {
    fn expiration(&self) -> Timestamp {
        self.expires
    }
}

/// The clock of a node may be behind the API server's by this much.
pub(crate) const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
