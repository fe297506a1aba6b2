use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pod_identity_core::wire::eks_auth::{AssumeRoleRequest, AssumeRoleResponse, ErrorCode};
use pod_identity_core::{Credentials, Secret, Timestamp, TokenDigest};

use crate::eks::service::EksAuthService;
use crate::token::ids;
use crate::{AgentRequest, MockEksAuth, ServiceError};

/// Where a [`MockAgent`](crate::MockAgent) gets its credentials from.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::wire::eks_auth::ErrorCode;
/// use pod_identity_testkit::CredentialSource;
///
/// let short_lived = CredentialSource::minted(Duration::from_secs(20 * 60));
/// let nobody_else = CredentialSource::from_fn(|request| {
///     Err(ErrorCode::ResourceNotFound.into())
/// });
/// # let _ = (short_lived, nobody_else);
/// ```
#[derive(Clone)]
pub struct CredentialSource(Source);

#[derive(Clone)]
enum Source {
    Minted(Duration),
    Fixed(Credentials),
    PerToken(Arc<BTreeMap<TokenDigest, Credentials>>),
    Sequence(Arc<Sequence>),
    Closure(Arc<Grant>),
    EksAuth(Arc<EksAuthService>),
}

type Grant = dyn Fn(&AgentRequest) -> Result<Credentials, ServiceError> + Send + Sync;

struct Sequence {
    credentials: Vec<Credentials>,
    /// The index of the next element. Relaxed, because only the number must be unique.
    next: AtomicUsize,
}

impl CredentialSource {
    /// Mints new ones for every request, with this lifetime by the mock's clock. Defaults to 6 hours.
    pub fn minted(lifetime: Duration) -> Self {
        Self(Source::Minted(lifetime))
    }

    /// Returns the same credentials for every request.
    pub fn fixed(credentials: Credentials) -> Self {
        Self(Source::Fixed(credentials))
    }

    /// Returns the credentials of the token. A token that is not in the map has no association.
    pub fn per_token<T: AsRef<str>>(all: impl IntoIterator<Item = (T, Credentials)>) -> Self {
        let digested = |(token, credentials): (T, _)| {
            (TokenDigest::of(token.as_ref().as_bytes()), credentials)
        };
        let all = all.into_iter().map(digested).collect();
        Self(Source::PerToken(Arc::new(all)))
    }

    /// Returns one element for each request, and the last one for all further requests.
    ///
    /// # Panics
    /// Panics if the sequence is empty.
    pub fn sequence(all: impl IntoIterator<Item = Credentials>) -> Self {
        let credentials: Vec<Credentials> = all.into_iter().collect();
        assert!(!credentials.is_empty(), "a sequence must not be empty");
        Self(Source::Sequence(Arc::new(Sequence {
            credentials,
            next: AtomicUsize::new(0),
        })))
    }

    /// Calls a closure for each request. Its error is passed on as one of EKS Auth.
    pub fn from_fn(
        grant: impl Fn(&AgentRequest) -> Result<Credentials, ServiceError> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::Closure(Arc::new(grant)))
    }

    /// Returns what this mock's cluster grants the token, by its associations, issuer and clock. Its socket
    /// and its faults are not involved. The mock may be stopped or dropped.
    pub fn eks_auth(mock: &MockEksAuth) -> Self {
        Self::of_cluster(Arc::clone(mock.service()))
    }

    pub(crate) fn of_cluster(service: Arc<EksAuthService>) -> Self {
        Self(Source::EksAuth(service))
    }

    pub(crate) fn grant(
        &self,
        request: &AgentRequest,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Credentials, ServiceError> {
        match &self.0 {
            Source::Minted(lifetime) => Ok(mint(now + *lifetime)),
            Source::Fixed(credentials) => Ok(credentials.clone()),
            Source::PerToken(all) => request
                .token
                .and_then(|token| all.get(&token).cloned())
                .ok_or_else(|| ErrorCode::ResourceNotFound.into()),
            Source::Sequence(sequence) => Ok(sequence.next()),
            Source::Closure(grant) => grant(request),
            Source::EksAuth(service) => {
                let request = AssumeRoleRequest::new(token.clone());
                let cluster = service.cluster.name.as_str();
                service
                    .grant(cluster, Some(&request), None)
                    .map(credentials)
            }
        }
    }
}

impl Default for CredentialSource {
    fn default() -> Self {
        Self::minted(Duration::from_secs(6 * 60 * 60))
    }
}

impl From<Credentials> for CredentialSource {
    fn from(credentials: Credentials) -> Self {
        Self::fixed(credentials)
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Minted(_) => "Minted",
            Source::Fixed(_) => "Fixed",
            Source::PerToken(_) => "PerToken",
            Source::Sequence(_) => "Sequence",
            Source::Closure(_) => "Closure",
            Source::EksAuth(_) => "EksAuth",
        })
    }
}

impl Sequence {
    fn next(&self) -> Credentials {
        let last = self.credentials.len().saturating_sub(1);
        let index = self.next.fetch_add(1, Ordering::Relaxed).min(last);
        let credentials = self.credentials.get(index).cloned();
        credentials.expect("a sequence must not be empty")
    }
}

fn mint(expiry: Timestamp) -> Credentials {
    let minted = ids::session_credentials(&mut fastrand::Rng::new(), expiry);
    Credentials::new(
        minted.access_key_id,
        minted.secret_access_key,
        minted.session_token,
        minted.expiration,
    )
    .with_account_id(ACCOUNT)
}

/// `AccountId` is taken from the ARN of the assumed role, as in the official agent.
fn credentials(response: AssumeRoleResponse) -> Credentials {
    let minted = response.credentials;
    let credentials = Credentials::new(
        minted.access_key_id,
        minted.secret_access_key,
        minted.session_token,
        minted.expiration,
    );
    match response.assumed_role_user.arn.split(':').nth(4) {
        Some(account) => credentials.with_account_id(account),
        None => credentials,
    }
}

const ACCOUNT: &str = "111122223333";
