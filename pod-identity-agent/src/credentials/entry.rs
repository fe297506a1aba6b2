use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::wire::agent;
use pod_identity_core::{
    ClaimError, CredentialSet, Expiring, KubernetesName, Secret, ServiceAccountToken, Ticket,
    Timestamp,
};
use tokio::sync::watch;

use crate::eks_auth::claimed_names::ClaimedNames;
use crate::eks_auth::exchange::{EksAuthError, Session};

/// What the cache keeps of a token: the token itself, to exchange it again, and when it may be used.
///
/// Dropping it, because its slot is evicted, tells those who wait that there will be no outcome.
pub(crate) struct TokenRequest {
    pub(crate) token: Secret,
    pub(crate) claimed: ClaimedNames,
    /// The pod, by which the watch of pods knows it. EKS Auth has verified it if credentials are held.
    pub(crate) pod_uid: Option<KubernetesName>,
    /// The address that asked first.
    pub(crate) address: IpAddr,
    expires: Timestamp,
    not_before: Option<Timestamp>,
    waiters: Option<Waiters>,
}

/// The outcome of a fetch for those who waited for it.
pub(crate) type Outcome = Result<Bytes, EksAuthError>;

/// All clients that wait for one fetch.
struct Waiters {
    ticket: Ticket,
    outcome: watch::Sender<Option<Outcome>>,
}

impl TokenRequest {
    pub(crate) fn new(token: &ServiceAccountToken, address: IpAddr) -> Self {
        Self {
            token: Secret::from(token.expose().to_owned()),
            claimed: token.claims().into(),
            pod_uid: token.claims().pod_uid.clone(),
            address,
            expires: token.claims().expires_at,
            not_before: token.claims().not_before,
            waiters: None,
        }
    }

    /// Checks the times again, on every request: the other claims cannot change.
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

    /// Joins those who wait for the fetch of this ticket, the latest that the slot has given out.
    pub(crate) fn wait_for(&mut self, ticket: Ticket) -> watch::Receiver<Option<Outcome>> {
        let waiters = self.waiters.get_or_insert_with(|| Waiters {
            ticket,
            outcome: watch::channel(None).0,
        });
        waiters.ticket = ticket;
        waiters.outcome.subscribe()
    }

    /// The ticket of those who wait, if there are any.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.waiters.as_ref().map(|waiters| waiters.ticket)
    }

    /// Tells those who wait; they wait no longer.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        if let Some(waiters) = self.waiters.take() {
            waiters.outcome.send_replace(Some(outcome));
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

impl CredentialSet for Entry {
    /// The body holds the access key id and what belongs to it.
    fn is_same_set(&self, other: &Self) -> bool {
        self.body == other.body
    }
}

/// The clock of a node may be behind the API server's by this much.
pub(crate) const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
