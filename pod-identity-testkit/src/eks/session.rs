use std::collections::BTreeMap;
use std::mem;
use std::sync::Mutex;
use std::time::Duration;

use pod_identity_core::{Secret, Timestamp};

use crate::record::newest::Newest;
use crate::record::size;
use crate::sync::lock;

/// A session for which EKS Auth has minted credentials, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The access key id of its credentials.
    pub access_key_id: String,
    /// The role that the pod has: the target role, if the association has one.
    pub role_arn: String,
    /// `arn:aws:sts::{account}:assumed-role/{role}/{session}`, as `GetCallerIdentity` returns it.
    pub arn: String,
    /// The role's id, a colon, and the session's name.
    pub assumed_role_id: String,
    /// The association of the service account.
    pub association_id: String,
    /// When its credentials expire.
    pub expiration: Timestamp,
    /// Its tags, all of them transitive; none if the association disables them.
    pub tags: BTreeMap<String, String>,
    /// The session policy of the association.
    pub policy: Option<String>,
}

impl Session {
    /// Returns the account of the role.
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

/// The sessions, by their access key ids.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Without one, all sessions are kept.
    limit: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Those that are kept, in the order in which they were minted.
    order: Newest<String>,
    minted: BTreeMap<String, Minted>,
    /// Expired sessions are looked for again at this time.
    next_look: Timestamp,
}

/// A session with its secrets.
#[derive(Debug, Clone)]
pub(crate) struct Minted {
    pub(crate) session: Session,
    pub(crate) secret_access_key: Secret,
    pub(crate) session_token: Secret,
}

impl Sessions {
    /// `limit`: the memory for the sessions, in bytes; then those are forgotten that expired [some time ago](KEPT), and
    /// the oldest if they are too many. `None` keeps all.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                order: Newest::within(limit),
                minted: BTreeMap::new(),
                next_look: Timestamp::from_unix_secs(0),
            }),
        }
    }

    pub(crate) fn put(&self, minted: Minted, now: Timestamp) {
        let mut state = lock(&self.state);
        let key = minted.session.access_key_id.clone();
        state.order.push(key.clone(), minted.size());
        state.minted.insert(key, minted);
        while let Some((_, oldest)) = state.order.pop_excess() {
            state.minted.remove(&oldest);
        }
        if self.limit.is_some() && now >= state.next_look {
            state.forget_expired(now);
        }
    }

    pub(crate) fn get(&self, access_key_id: &str) -> Option<Minted> {
        lock(&self.state).minted.get(access_key_id).cloned()
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new(None)
    }
}

impl State {
    fn forget_expired(&mut self, now: Timestamp) {
        self.next_look = now + LOOK;
        self.minted
            .retain(|_, minted| minted.session.expiration + KEPT > now);
        let Self { order, minted, .. } = self;
        order.retain(|key| minted.contains_key(key));
    }
}

impl Minted {
    fn size(&self) -> usize {
        let session = &self.session;
        let texts = [
            &session.access_key_id,
            &session.role_arn,
            &session.arn,
            &session.assumed_role_id,
            &session.association_id,
        ];
        let texts = texts.into_iter().map(|text| size::of_text(text));
        let secrets = [&self.secret_access_key, &self.session_token];
        let secrets = secrets.map(|secret| size::of_text(secret.expose()));
        // In the map and in the order, with their keys.
        2 * mem::size_of::<Self>()
            + 2 * size::of_text(&session.access_key_id)
            + texts.sum::<usize>()
            + secrets.iter().sum::<usize>()
            + size::of_texts(&session.tags)
            + size::of_option(session.policy.as_ref())
    }
}

/// How long a session is known after it has expired: STS then says so, and does not call its key unknown.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// How often expired sessions are looked for.
const LOOK: Duration = Duration::from_secs(60);
