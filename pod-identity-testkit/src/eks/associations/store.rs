use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;
use std::sync::Mutex;

use pod_identity_core::Timestamp;

use crate::eks::associations::associated::{Associated, Key};
use crate::eks::associations::json::{CreateRequest, UpdateRequest};
use crate::eks::associations::visibility::Due;
use crate::sync::lock;
use crate::{ApiError, Association, Visibility};

/// The associations of one cluster; one per service account, as in the real service.
///
/// They are kept twice: as the API knows them, and as EKS Auth does, which learns later.
#[derive(Debug, Default)]
pub(crate) struct Associations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    latest: BTreeMap<Key, Associated>,
    published: BTreeMap<Key, Associated>,
    /// What EKS Auth has yet to learn, in the order in which it happened.
    pending: Vec<Change>,
    visibility: Visibility,
    /// What has been done with which `clientRequestToken`, and the id of the association.
    done: BTreeMap<String, (Asked, String)>,
}

#[derive(Debug)]
struct Change {
    key: Key,
    now_is: Option<Associated>,
    due: Due,
}

/// What can be asked twice.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Creation(CreateRequest),
    Update(String, UpdateRequest),
}

/// Why there is no new association.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotCreated {
    /// The service account has this one.
    Exists(String),
    /// There are too many.
    Full,
    /// The token came with another request before.
    TokenReused(TokenReused),
}

/// Why an association is not changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotUpdated {
    Unknown,
    Refused(ApiError),
    /// The token came with another request before.
    TokenReused(TokenReused),
}

/// A `clientRequestToken` came with another request before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenReused;

impl Associations {
    pub(crate) fn new(visibility: Visibility) -> Self {
        Self(Mutex::new(State {
            visibility,
            ..State::default()
        }))
    }

    pub(crate) fn set_visibility(&self, visibility: Visibility) {
        lock(&self.0).visibility = visibility;
    }

    /// Adds an association in place of any other of the same service account, as if it had always been
    /// there. Returns its new id.
    pub(crate) fn put(&self, association: Association, now: Timestamp) -> String {
        let associated = Associated::new(association, now);
        let (id, key) = (associated.id.clone(), associated.key());
        let mut state = lock(&self.0);
        state.pending.retain(|change| change.key != key);
        state.published.insert(key.clone(), associated.clone());
        state.latest.insert(key, associated);
        id
    }

    /// Removes an association for good and at once. Whether there was one with this id.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut state = lock(&self.0);
        let known = state.latest.len() + state.published.len();
        state.latest.retain(|_, associated| associated.id != id);
        state.published.retain(|_, associated| associated.id != id);
        let is_it = |change: &Change| change.now_is.as_ref().is_some_and(|now| now.id == id);
        state.pending.retain(|change| !is_it(change));
        state.latest.len() + state.published.len() < known
    }

    /// What EKS Auth knows by now.
    pub(crate) fn of(
        &self,
        namespace: &str,
        service_account: &str,
        now: Timestamp,
    ) -> Option<Associated> {
        let mut state = lock(&self.0);
        state.publish(now);
        let key = (namespace.to_owned(), service_account.to_owned());
        state.published.get(&key).cloned()
    }

    pub(crate) fn create(
        &self,
        request: CreateRequest,
        association: Association,
        now: Timestamp,
    ) -> Result<Associated, NotCreated> {
        let mut state = lock(&self.0);
        let token = request.client_request_token.clone();
        let asked = Asked::Creation(request);
        let done = state.done_before(token.as_ref(), &asked);
        if let Some(created) = done.map_err(NotCreated::TokenReused)? {
            return Ok(created);
        }
        let associated = Associated::new(association, now);
        if let Some(other) = state.latest.get(&associated.key()) {
            return Err(NotCreated::Exists(other.id.clone()));
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
    ) -> Result<Associated, NotUpdated> {
        let mut state = lock(&self.0);
        let token = request.client_request_token.clone();
        let asked = Asked::Update(id.to_owned(), request.clone());
        let done = state.done_before(token.as_ref(), &asked);
        if let Some(updated) = done.map_err(NotUpdated::TokenReused)? {
            return Ok(updated);
        }
        let updated = state
            .change(id, now, |association| request.apply(association))
            .ok_or(NotUpdated::Unknown)?
            .map_err(NotUpdated::Refused)?;
        state.note(token, asked, id);
        Ok(updated)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Associated> {
        lock(&self.0).with_id(id).cloned()
    }

    /// Those after `after` that are wanted, and whether there are more than `max` of them.
    pub(crate) fn page(
        &self,
        after: Option<Key>,
        max: usize,
        wanted: impl Fn(&Association) -> bool,
    ) -> (Vec<Associated>, bool) {
        let state = lock(&self.0);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut all = state
            .latest
            .range((start, Bound::Unbounded))
            .map(|(_, associated)| associated)
            .filter(|associated| wanted(&associated.association));
        let page = all.by_ref().take(max).cloned().collect();
        (page, all.next().is_some())
    }

    /// Changes an association, unless `change` fails. `None` when there is none of this id.
    pub(crate) fn change<E>(
        &self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Association) -> Result<(), E>,
    ) -> Option<Result<Associated, E>> {
        lock(&self.0).change(id, now, change)
    }

    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Option<Associated> {
        let mut state = lock(&self.0);
        let key = state.with_id(id)?.key();
        let deleted = state.latest.remove(&key);
        state.publish_later(key, None, now);
        deleted
    }
}

impl State {
    fn with_id(&self, id: &str) -> Option<&Associated> {
        self.latest.values().find(|associated| associated.id == id)
    }

    fn change<E>(
        &mut self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Association) -> Result<(), E>,
    ) -> Option<Result<Associated, E>> {
        let mut changed = self.with_id(id).cloned()?;
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
        self.publish_later(key, Some(associated), now);
    }

    fn publish_later(&mut self, key: Key, now_is: Option<Associated>, now: Timestamp) {
        let due = self.visibility.of_change_at(now);
        self.pending.push(Change { key, now_is, due });
    }

    /// A change waits for those before it to the same service account, so that EKS Auth sees them in
    /// the order in which they were made.
    fn publish(&mut self, now: Timestamp) {
        let mut waiting = BTreeSet::new();
        for change in mem::take(&mut self.pending) {
            if waiting.contains(&change.key) || !change.due.has_come(now) {
                waiting.insert(change.key.clone());
                self.pending.push(change);
            } else if let Some(associated) = change.now_is {
                self.published.insert(change.key, associated);
            } else {
                self.published.remove(&change.key);
            }
        }
    }

    /// What has come of this very request before, if that is still there.
    fn done_before(
        &self,
        token: Option<&String>,
        asked: &Asked,
    ) -> Result<Option<Associated>, TokenReused> {
        let Some((before, id)) = token.and_then(|token| self.done.get(token)) else {
            return Ok(None);
        };
        if before != asked {
            return Err(TokenReused);
        }
        Ok(self.with_id(id).cloned())
    }

    fn note(&mut self, token: Option<String>, asked: Asked, id: &str) {
        if let Some(token) = token {
            self.done.insert(token, (asked, id.to_owned()));
        }
    }
}

/// The quota of a cluster.
pub(crate) const MAX_ASSOCIATIONS: usize = 5_000;
