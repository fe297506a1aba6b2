use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::wire::agent;
use pod_identity_core::{
    BoundPod, ClaimError, CredentialSet, Expiring, KubernetesName, Secret, ServiceAccountToken,
    Ticket, Timestamp, TokenDigest, Validity,
};
use tokio::sync::watch;

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::eks_auth::subject::Subject;

/// What the cache keeps of a token, or of the newest token of a pod: the token itself, to exchange it again,
/// and when it may be used.
///
/// Dropping it, because its slot is evicted, tells those who wait that there will be no outcome.
pub(crate) struct TokenRequest {
    pub(crate) token: Secret,
    pub(crate) digest: TokenDigest,
    /// The pod, once the token has been verified.
    pub(crate) verified: Option<Arc<BoundPod>>,
    /// The pod, by which the watch of pods knows it. EKS Auth has verified it if credentials are held.
    pub(crate) pod_uid: Option<KubernetesName>,
    /// The address that asked first.
    pub(crate) address: IpAddr,
    validity: Validity,
    waiters: Option<Waiters>,
}

/// The outcome of a fetch for those who waited for it.
pub(crate) type Outcome = Result<Bytes, EksAuthError>;

/// All clients that wait for one fetch.
struct Waiters {
    ticket: Ticket,
    outcome: watch::Sender<Option<Outcome>>,
    /// Those of other slots that have turned out to be of the same pod.
    others: Vec<watch::Sender<Option<Outcome>>>,
}

impl TokenRequest {
    pub(crate) fn new(
        token: &ServiceAccountToken,
        digest: TokenDigest,
        verified: Option<Arc<BoundPod>>,
        address: IpAddr,
    ) -> Self {
        Self {
            token: Secret::from(token.expose().to_owned()),
            digest,
            verified,
            pod_uid: token.claims().pod_uid.clone(),
            address,
            validity: token.claims().validity(),
            waiters: None,
        }
    }

    /// Puts another token of the same pod in its place, unless that expires earlier. Those who wait go on
    /// waiting.
    pub(crate) fn renew(&mut self, token: &ServiceAccountToken, digest: TokenDigest) {
        if token.claims().expires_at > self.validity.expires_at {
            self.token = Secret::from(token.expose().to_owned());
            self.digest = digest;
            self.validity = token.claims().validity();
        }
    }

    /// The pod that the token is for. What a token only claims is read from it for each exchange, a few times
    /// a day: kept in thousands of slots, the names would cost more.
    pub(crate) fn subject(&self) -> Subject {
        match &self.verified {
            Some(pod) => Subject::Verified(Arc::clone(pod)),
            None => ServiceAccountToken::parse(self.token.expose())
                .map(|token| token.claims().into())
                .unwrap_or_default(),
        }
    }

    /// Checks the times again, on every request: the other claims cannot change.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), ClaimError> {
        self.validity.check(now, NOT_BEFORE_LEEWAY)
    }

    /// Joins those who wait for the fetch of this ticket, the latest that the slot has given out.
    pub(crate) fn wait_for(&mut self, ticket: Ticket) -> watch::Receiver<Option<Outcome>> {
        let waiters = self.waiters.get_or_insert_with(|| Waiters {
            ticket,
            outcome: watch::channel(None).0,
            others: Vec::new(),
        });
        waiters.ticket = ticket;
        waiters.outcome.subscribe()
    }

    /// Lets those who wait for another slot, which is dropped, wait for the fetch of this ticket.
    pub(crate) fn take_over(&mut self, ticket: Ticket, dropped: Self) {
        let Some(mut waiters) = dropped.waiters else {
            return;
        };
        if let Some(own) = self.waiters.take() {
            waiters.others.push(own.outcome);
            waiters.others.extend(own.others);
        }
        waiters.ticket = ticket;
        self.waiters = Some(waiters);
    }

    /// The ticket of those who wait, if there are any.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.waiters.as_ref().map(|waiters| waiters.ticket)
    }

    /// Tells those who wait; they wait no longer.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        if let Some(waiters) = self.waiters.take() {
            for other in waiters.others {
                other.send_replace(Some(outcome.clone()));
            }
            waiters.outcome.send_replace(Some(outcome));
        }
    }
}

impl Expiring for TokenRequest {
    fn expiration(&self) -> Timestamp {
        self.validity.expires_at
    }
}

/// What is kept of a session: the answer, ready to send. Its memory is overwritten with the last clone.
pub(crate) struct Entry {
    pub(crate) body: Bytes,
    expires: Timestamp,
    /// Whether EKS Auth has issued it for the service account that the token names. A token that is verified
    /// later proves its claims, so that this is all that is left to compare then.
    pub(crate) is_of_subject: bool,
}

impl Entry {
    pub(crate) fn new(session: &Session, subject: &Subject) -> Self {
        Self {
            body: Bytes::from_owner(agent::encode(&session.credentials)),
            expires: session.credentials.expiration(),
            is_of_subject: subject.is_of(session),
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
