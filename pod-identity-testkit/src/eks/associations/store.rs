use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, OnceLock};

use pod_identity_core::Timestamp;

use crate::eks::associations::associated::{Associated, Key};
use crate::eks::associations::json::{CreateRequest, UpdateRequest};
use crate::eks::associations::view::View;
use crate::sync::lock;
use crate::{ApiError, Association, Visibility};

/// The associations of one cluster; one per service account, as in the real service.
///
/// A write sees all earlier writes at once. Reads see them later: those of EKS Auth, and those of the API.
#[derive(Debug, Default)]
pub(crate) struct Associations {
    state: Mutex<State>,
    watcher: OnceLock<Watcher>,
}

/// Is told the service accounts that have an association, after each change and before its answer.
pub(crate) struct Watcher(Box<dyn Fn(Vec<Key>) + Send + Sync>);

#[derive(Debug, Default)]
struct State {
    latest: BTreeMap<Key, Associated>,
    by_api: View,
    by_eks_auth: View,
    /// The requests that came with a `clientRequestToken`, by operation and token, and the id of the
    /// association that each led to.
    done: BTreeMap<(&'static str, String), (Asked, String)>,
}

/// A request that a client may repeat.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Creation(CreateRequest),
    Update(String, UpdateRequest),
}

/// Why an association is not created.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotCreated {
    /// The service account has the association with this id.
    Exists(String),
    /// The cluster has [`MAX_ASSOCIATIONS`].
    Full,
    TokenReused(TokenReused),
}

/// Why an association is not updated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotUpdated {
    Unknown,
    Refused(ApiError),
    TokenReused(TokenReused),
}

/// A `clientRequestToken` came with another request to the same operation before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenReused;

impl Associations {
    pub(crate) fn new(by_eks_auth: Visibility, by_api: Visibility) -> Self {
        Self {
            state: Mutex::new(State {
                by_api: View::new(by_api),
                by_eks_auth: View::new(by_eks_auth),
                ..State::default()
            }),
            watcher: OnceLock::new(),
        }
    }

    /// Sets the watcher, and tells it what there is. There is one at most: later ones are ignored.
    pub(crate) fn watch(&self, watcher: impl Fn(Vec<Key>) + Send + Sync + 'static) {
        let _is_first = self.watcher.set(Watcher(Box::new(watcher)));
        drop(self.write());
    }

    pub(crate) fn set_visibility(&self, visibility: Visibility) {
        self.lock().by_eks_auth.set_visibility(visibility);
    }

    pub(crate) fn set_api_visibility(&self, visibility: Visibility) {
        self.lock().by_api.set_visibility(visibility);
    }

    /// Adds an association in place of any other of the same service account, as if it had always been
    /// there. Returns its new id.
    pub(crate) fn put(&self, association: Association, now: Timestamp) -> String {
        let associated = Associated::new(association, now);
        let id = associated.id.clone();
        let mut state = self.write();
        state.by_api.put_now(associated.clone());
        state.by_eks_auth.put_now(associated.clone());
        state.latest.insert(associated.key(), associated);
        id
    }

    /// Removes an association for every reader at once. Returns whether there was one with this id.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut state = self.write();
        let before = state.latest.len();
        state.latest.retain(|_, associated| associated.id != id);
        let was_latest = state.latest.len() < before;
        let was_known_to_api = state.by_api.remove_now(id);
        state.by_eks_auth.remove_now(id) || was_known_to_api || was_latest
    }

    /// Returns every association that was written, whoever knows of it by now.
    pub(crate) fn all(&self) -> Vec<Associated> {
        self.lock().latest.values().cloned().collect()
    }

    /// Returns what EKS Auth knows of a service account by now.
    pub(crate) fn of(
        &self,
        namespace: &str,
        service_account: &str,
        now: Timestamp,
    ) -> Option<Associated> {
        let key = (namespace.to_owned(), service_account.to_owned());
        self.lock().by_eks_auth.at(now).get(&key).cloned()
    }

    pub(crate) fn create(
        &self,
        request: CreateRequest,
        association: Association,
        now: Timestamp,
    ) -> Result<Associated, NotCreated> {
        let mut state = self.write();
        let token = request.client_request_token.clone();
        let asked = Asked::Creation(request);
        let done = state.done_before(token.as_ref(), &asked);
        if let Some(created) = done.map_err(NotCreated::TokenReused)? {
            return Ok(created);
        }
        let associated = Associated::new(association, now);
        if let Some(other) = state.conflict(&associated.key(), now) {
            return Err(NotCreated::Exists(other));
        }
        if state.latest.len() >= MAX_ASSOCIATIONS {
            return Err(NotCreated::Full);
        }
        state.note(token, asked, &associated.id);
        state.put(associated.clone(), now);
        Ok(associated)
    }

    pub(crate) fn update(
        &self,
        id: &str,
        request: UpdateRequest,
        now: Timestamp,
        check: impl FnOnce(&Association) -> Result<(), ApiError>,
    ) -> Result<Associated, NotUpdated> {
        let mut state = self.write();
        let token = request.client_request_token.clone();
        let asked = Asked::Update(id.to_owned(), request.clone());
        let done = state.done_before(token.as_ref(), &asked);
        if let Some(updated) = done.map_err(NotUpdated::TokenReused)? {
            return Ok(updated);
        }
        let updated = state
            .change(id, now, |association| {
                request.apply(association);
                check(association)
            })
            .ok_or(NotUpdated::Unknown)?
            .map_err(NotUpdated::Refused)?;
        state.note(token, asked, id);
        Ok(updated)
    }

    /// Returns the association with this id as the API reads it.
    pub(crate) fn get(&self, id: &str, now: Timestamp) -> Option<Associated> {
        let mut state = self.lock();
        with_id(state.by_api.at(now), id).cloned()
    }

    /// Returns at most `max` of the associations after `after` that are wanted, and whether there are more.
    pub(crate) fn page(
        &self,
        after: Option<Key>,
        max: usize,
        now: Timestamp,
        wanted: impl Fn(&Association) -> bool,
    ) -> (Vec<Associated>, bool) {
        let mut state = self.lock();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut all = state
            .by_api
            .at(now)
            .range((start, Bound::Unbounded))
            .map(|(_, associated)| associated)
            .filter(|associated| wanted(&associated.association));
        let page = all.by_ref().take(max).cloned().collect();
        (page, all.next().is_some())
    }

    /// Changes an association, unless `change` fails. Returns `None` if there is none with this id.
    pub(crate) fn change<E>(
        &self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Association) -> Result<(), E>,
    ) -> Option<Result<Associated, E>> {
        self.write().change(id, now, change)
    }

    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Option<Associated> {
        let mut state = self.write();
        let key = state.written(id, now)?.key();
        let deleted = state.latest.remove(&key);
        state.publish(key, None, now);
        deleted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn write(&self) -> Writing<'_> {
        Writing {
            state: self.lock(),
            watcher: self.watcher.get(),
        }
    }
}

/// Tells the watcher when it is dropped. The lock is still held then, so that changes are told in their order.
struct Writing<'a> {
    state: MutexGuard<'a, State>,
    watcher: Option<&'a Watcher>,
}

impl Deref for Writing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher {
            watcher.0(self.state.latest.keys().cloned().collect());
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

impl State {
    /// Returns the latest form of an association that the caller can know of: assumed, an id that cannot be
    /// described yet cannot be changed either.
    fn written(&mut self, id: &str, now: Timestamp) -> Option<&Associated> {
        with_id(self.by_api.at(now), id)?;
        with_id(&self.latest, id)
    }

    /// Returns the id of the association that a service account has, or still has: "when a PIA is deleted then
    /// immediately recreated … the PIA will be marked as already existing with a `ResourceInUseException`"
    /// (aws-controllers-k8s/community#2684).
    fn conflict(&mut self, key: &Key, now: Timestamp) -> Option<String> {
        let found = self
            .latest
            .get(key)
            .or_else(|| self.by_api.at(now).get(key));
        found.map(|associated| associated.id.clone())
    }

    fn change<E>(
        &mut self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Association) -> Result<(), E>,
    ) -> Option<Result<Associated, E>> {
        let mut changed = self.written(id, now)?.clone();
        if let Err(error) = change(&mut changed.association) {
            return Some(Err(error));
        }
        changed.modified_at = now;
        self.put(changed.clone(), now);
        Some(Ok(changed))
    }

    fn put(&mut self, associated: Associated, now: Timestamp) {
        let key = associated.key();
        self.latest.insert(key.clone(), associated.clone());
        self.publish(key, Some(associated), now);
    }

    fn publish(&mut self, key: Key, now_is: Option<Associated>, now: Timestamp) {
        self.by_api.put_later(key.clone(), now_is.clone(), now);
        self.by_eks_auth.put_later(key, now_is, now);
    }

    /// Returns the association that this very request has led to before, if that is still there.
    fn done_before(
        &self,
        token: Option<&String>,
        asked: &Asked,
    ) -> Result<Option<Associated>, TokenReused> {
        let key = token.map(|token| (asked.operation(), token.clone()));
        let Some((before, id)) = key.and_then(|key| self.done.get(&key)) else {
            return Ok(None);
        };
        if before != asked {
            return Err(TokenReused);
        }
        Ok(with_id(&self.latest, id).cloned())
    }

    fn note(&mut self, token: Option<String>, asked: Asked, id: &str) {
        if let Some(token) = token {
            let key = (asked.operation(), token);
            self.done.insert(key, (asked, id.to_owned()));
        }
    }
}

impl Asked {
    fn operation(&self) -> &'static str {
        match self {
            Self::Creation(_) => "create",
            Self::Update(..) => "update",
        }
    }
}

fn with_id<'a>(all: &'a BTreeMap<Key, Associated>, id: &str) -> Option<&'a Associated> {
    all.values().find(|associated| associated.id == id)
}

/// The quota of a cluster.
pub(crate) const MAX_ASSOCIATIONS: usize = 5_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_watcher_learns_the_service_accounts_with_an_association_after_each_change() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let associations = Associations::default();
        let put = |service_account: &str| {
            let role = "arn:aws:iam::111122223333:role/cart";
            associations.put(Association::new("shop", service_account, role), now)
        };
        let first = put("cart");
        let told = Arc::new(Mutex::new(Vec::new()));
        let watcher = Arc::clone(&told);
        associations.watch(move |keys| {
            let names = keys.into_iter().map(|(_, service_account)| service_account);
            lock(&watcher).push(names.collect::<Vec<_>>());
        });
        let second = put("till");
        associations.remove(&first);
        associations.delete(&second, now);
        let expected: [&[&str]; 4] = [&["cart"], &["cart", "till"], &["till"], &[]];
        assert_eq!(*lock(&told), expected);
    }

    #[test]
    fn an_association_that_is_put_replaces_pending_changes_of_its_service_account_only() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let minute = Duration::from_secs(60);
        let associations = Associations::default();
        let put = |service_account: &str| {
            let role = "arn:aws:iam::111122223333:role/cart";
            associations.put(Association::new("shop", service_account, role), now)
        };
        let [cart, till] = ["cart", "till"].map(put);
        associations.set_visibility(Visibility::After(minute));
        for id in [&cart, &till] {
            assert!(associations.delete(id, now).is_some());
        }
        put("cart");
        let known = |at| ["cart", "till"].map(|name| associations.of("shop", name, at).is_some());
        assert_eq!(known(now), [true, true]);
        assert_eq!(known(now + minute), [true, false]);
    }

    #[test]
    fn an_association_that_only_eks_auth_still_knows_can_be_removed_once() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let associations = Associations::default();
        let role = "arn:aws:iam::111122223333:role/cart";
        let id = associations.put(Association::new("shop", "cart", role), now);
        associations.set_visibility(Visibility::After(Duration::from_secs(60)));
        assert!(associations.delete(&id, now).is_some());
        assert!(associations.get(&id, now).is_none());
        assert!(associations.of("shop", "cart", now).is_some());
        assert!(associations.remove(&id));
        assert!(associations.of("shop", "cart", now).is_none());
        assert!(!associations.remove(&id));
    }
}
