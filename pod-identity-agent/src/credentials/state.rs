use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::{
    Adopted, Asked, CacheAttempt, Expiring, Failure, FailureClass, Found, PodDigest, Secret,
    ServiceAccountToken, Slot, SlotCache, SlotKey, Timestamp, TokenDigest, VerifiedToken,
    VerifiedTokens,
};
use tokio::sync::{Notify, watch};

use crate::credentials::bad_tokens::{RecentRefusals, RecentlyUnverified};
use crate::credentials::denial::Denial;
use crate::credentials::details::{Details, Pace, Slots};
use crate::credentials::entry::{Entry, NOT_BEFORE_LEEWAY, Outcome, TokenRequest};
use crate::credentials::other_sources::{OtherSources, OtherUse};
use crate::credentials::rate_limit::{Budgets, MayVerify};
use crate::credentials::settings::Settings;
use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::pace::UpstreamPace;
use crate::eks_auth::subject::Subject;
use crate::kubernetes::gone_pods::GonePods;
use crate::node::addresses::NodeAddresses;
use crate::telemetry::metrics::Reading;
use crate::tokens::key_set::{KeySet, Unverified};

/// All that changes: the slots with those who wait for them, and what bounds the exchanges with EKS Auth.
///
/// Every method is short and does no I/O; the time is an argument.
///
/// # What bounds an exchange
/// 1. Whether a token gets a slot: a share of the table for each source ([`SlotCache`]), and no slot for a
///    source whose budget is so far spent that the client would wait in vain ([`Budgets`]).
/// 2. When a fetch that somebody waits for begins: its source's turn, and its budget, which is charged for
///    every attempt, so that the retries of an outage count like anything else.
/// 3. When any fetch begins: the pace that EKS Auth grants to the whole node ([`UpstreamPace`]).
pub(crate) struct State {
    cache: SlotCache<SlotKey, TokenRequest, Entry, EksAuthError>,
    /// Which slot a token belongs to.
    verified: VerifiedTokens,
    /// Tokens that were not found to be a pod's, so that each is verified once.
    unverified: RecentlyUnverified,
    node_addresses: NodeAddresses,
    budgets: Budgets,
    /// When the first source that is over budget may fetch again.
    budget_timeout: Option<Timestamp>,
    refusals: RecentRefusals,
    pace: UpstreamPace,
    other_sources: OtherSources,
    max_wait: Duration,
    gone_pods: Arc<GonePods>,
    /// Slots dropped because their pods are gone.
    dropped: u64,
    /// Wakes the task that fetches.
    wake: Arc<Notify>,
}

/// The answer for a token that may be used.
pub(crate) enum Lookup {
    /// The prepared body.
    Ready(Bytes),
    /// A fetch is under way.
    Pending(Pending),
}

/// A place among those who wait for a fetch.
pub(crate) struct Pending {
    pub(crate) digest: TokenDigest,
    pub(crate) key: SlotKey,
    pub(crate) outcome: watch::Receiver<Option<Outcome>>,
}

/// Whether a token is to be verified.
pub(crate) enum Verification {
    Due,
    /// Each token is verified once.
    Done,
    /// Its source has sent too many with a wrong signature.
    LeftToEksAuth,
}

/// A fetch that is under way.
pub(crate) struct Running {
    pub(crate) attempt: CacheAttempt<SlotKey>,
    /// The token that is exchanged.
    digest: TokenDigest,
    began: Timestamp,
    /// The source whose budget was charged; `None` for a refresh, which has a pace of its own.
    charged: Option<IpAddr>,
}

/// What an exchange needs.
pub(crate) struct ExchangeInput {
    pub(crate) token: Secret,
    pub(crate) subject: Subject,
    pub(crate) address: IpAddr,
}

impl State {
    pub(crate) fn new(settings: &Settings, wake: Arc<Notify>) -> Self {
        let policy = Arc::new(settings.policy.clone());
        Self {
            cache: SlotCache::new(policy, settings.limits.clone(), settings.seed),
            verified: VerifiedTokens::new(
                settings
                    .limits
                    .held
                    .saturating_mul(TOKENS_PER_POD)
                    .min(MAX_VERIFIED),
            ),
            unverified: RecentlyUnverified::default(),
            node_addresses: settings.node_addresses.clone(),
            budgets: Budgets::new(settings.pod_budget, settings.node_budget),
            budget_timeout: None,
            refusals: RecentRefusals::default(),
            pace: UpstreamPace::new(),
            other_sources: OtherSources::default(),
            max_wait: settings.max_wait,
            gone_pods: Arc::clone(&settings.gone_pods),
            dropped: 0,
            wake,
        }
    }

    /// Looks for a token, and begins no fetch: `None` where it takes one.
    pub(crate) fn look_up(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
    ) -> Result<Option<Lookup>, Denial> {
        let (key, end) = match self.verified.get(&digest) {
            Some(token) => {
                token.validity().check(now, NOT_BEFORE_LEEWAY)?;
                (token.key(), token.validity().expires_at)
            }
            None => (SlotKey::Token(digest), Timestamp::MIN),
        };
        let found = self.find(now, digest, key, end)?;
        if found.is_none() && self.unverified.why(&digest) == Some(Unverified::WrongSignature) {
            return Err(Denial::WrongSignature);
        }
        Ok(found)
    }

    /// `None` also for a slot whose token expires before `end`: [`begin`](Self::begin) gives it this one.
    fn find(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        key: SlotKey,
        end: Timestamp,
    ) -> Result<Option<Lookup>, Denial> {
        let wake = &self.wake;
        let found = self.cache.find(now, key, |request, found| {
            // That of a pod is its newest token, and another may be the one that is asked with.
            if let SlotKey::Token(_) = key {
                request.check(now)?;
            } else if request.expiration() < end {
                return Ok(None);
            }
            let ready = |entry: &Entry| Some(Lookup::Ready(entry.body.clone()));
            Ok::<_, Denial>(match found {
                Found::Ready(entry) => ready(entry),
                Found::Overdue(entry) => {
                    wake.notify_one();
                    ready(entry)
                }
                Found::Pending(ticket) => {
                    wake.notify_one();
                    let outcome = request.wait_for(ticket);
                    Some(Lookup::Pending(Pending {
                        digest,
                        key,
                        outcome,
                    }))
                }
                Found::Idle => None,
            })
        });
        let found = found.unwrap_or(Ok(None))?;
        if found.is_none() {
            // The look-up may have found that a fetch has ended without success.
            self.settle(&key);
        }
        Ok(found)
    }

    /// Whether a token that claims to be of this pod is still to be verified.
    ///
    /// # Errors
    /// Fails if its signature is known to be wrong, or if its source has sent too many such tokens in the name of
    /// this pod.
    pub(crate) fn needs_verification(
        &mut self,
        now: Timestamp,
        digest: &TokenDigest,
        address: IpAddr,
        claimed: Option<PodDigest>,
    ) -> Result<Verification, Denial> {
        match self.unverified.why(digest) {
            Some(Unverified::WrongSignature) => return Err(Denial::WrongSignature),
            Some(Unverified::UnknownKey | Unverified::NotOfPod) => return Ok(Verification::Done),
            None if self.verified.get(digest).is_some() => return Ok(Verification::Done),
            None => {}
        }
        let source = self.node_addresses.source_of(address);
        let of_pod = claimed.and_then(|pod| self.cache.peek(&SlotKey::Pod(pod)));
        let is_known = of_pod.and_then(Slot::held).is_some();
        match self.budgets.may_verify(now, source, claimed, is_known) {
            MayVerify::Yes => Ok(Verification::Due),
            MayVerify::NotHere => Ok(Verification::LeftToEksAuth),
            MayVerify::No => Err(Denial::TooManyForged {
                flag: "--pod-budget",
            }),
        }
    }

    /// Charges a source, and the pod that it claims, with the verification of a forged token.
    pub(crate) fn charge_forged(
        &mut self,
        now: Timestamp,
        address: IpAddr,
        claimed: Option<PodDigest>,
    ) {
        let source = self.node_addresses.source_of(address);
        self.budgets.charge_forged(now, source, claimed);
    }

    /// Takes note that a token has been found not to be a pod's.
    pub(crate) fn note_unverified(&mut self, digest: TokenDigest, why: Unverified) {
        self.unverified.note(digest, why);
    }

    /// Takes a token that has been verified, before its fetch begins or while its slot is there: from now on
    /// it shares the slot of its pod. Credentials that were fetched before, and that EKS Auth has issued for
    /// another service account, are dropped.
    ///
    /// `keys` are those of now. Returns false, and does nothing, if the one that it was verified with is
    /// not among them: that was withdrawn meanwhile, and [`handle_keys`](Self::handle_keys) may have been called
    /// already.
    pub(crate) fn adopt(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        verified: VerifiedToken,
        token: &ServiceAccountToken,
        keys: &KeySet,
    ) -> bool {
        if !keys.holds(verified.verified_with()) {
            return false;
        }
        let own = SlotKey::Token(digest);
        let held = self.cache.peek(&own).and_then(Slot::held);
        let of_another = held.is_some_and(|held| !held.is_of_subject);
        let forgotten = of_another.then(|| self.cache.forget(&own)).flatten();
        let key = verified.key();
        let pod = Arc::clone(verified.pod());
        let renew = |request: &mut TokenRequest| {
            request.renew(token, digest);
            request.verified = Some(pod);
        };
        let cache = &mut self.cache;
        let adopted = self.verified.adopt(cache, now, digest, verified, renew);
        if let Adopted::ToPod(dropped) = adopted {
            for dropped in [forgotten, dropped].into_iter().flatten() {
                self.go_on_waiting(now, key, dropped);
            }
            self.settle(&key);
            self.wake.notify_one();
        }
        true
    }

    /// Those who waited for a slot that was dropped wait for that of the pod.
    fn go_on_waiting(&mut self, now: Timestamp, key: SlotKey, mut dropped: TokenRequest) {
        let slot = self.cache.peek(&key).filter(|slot| slot.is_usable(now));
        if let Some(held) = slot.and_then(Slot::held) {
            return dropped.settle(Ok(held.body.clone()));
        }
        if dropped.ticket().is_none() {
            return;
        }
        let source = self.node_addresses.source_of(dropped.address);
        let mut dropped = Some(dropped);
        let request = || dropped.take().expect("a request must be asked for once");
        if let Asked::Pending(ticket) = self.cache.ask(now, key, source, request)
            && let (Some(dropped), Some(request)) = (dropped, self.cache.request_mut(&key))
        {
            request.take_over(ticket, dropped);
        }
    }

    /// Forgets what the keys before these have said.
    pub(crate) fn handle_keys(&mut self, keys: &KeySet) {
        self.verified.forget_withdrawn(|key| keys.holds(key));
        self.unverified = RecentlyUnverified::default();
    }

    /// The tokens with a slot of their own, because they are not verified.
    pub(crate) fn tokens(&self) -> Vec<TokenDigest> {
        let token = |key: &SlotKey| match key {
            SlotKey::Token(digest) => Some(*digest),
            SlotKey::Pod(_) => None,
        };
        self.cache.keys().filter_map(token).collect()
    }

    /// A token with a slot of its own, unless it has been found not to be a pod's.
    pub(crate) fn token(&mut self, digest: &TokenDigest) -> Option<Secret> {
        if self.unverified.why(digest).is_some() {
            return None;
        }
        let request = self.cache.request_mut(&SlotKey::Token(*digest));
        request.map(|request| request.token.clone())
    }

    /// Begins a fetch for a token whose claims have been checked, or joins one that another client has
    /// begun meanwhile.
    pub(crate) fn begin(
        &mut self,
        now: Timestamp,
        digest: TokenDigest,
        address: IpAddr,
        token: &ServiceAccountToken,
    ) -> Result<Lookup, Denial> {
        let key = self.verified.key_of(&digest);
        if let SlotKey::Pod(_) = key {
            // It may have been verified before this slot of its pod began with an older one.
            let renew = |request: &mut TokenRequest| request.renew(token, digest);
            self.cache.update_request(now, key, renew);
        }
        if let Some(found) = self.find(now, digest, key, Timestamp::MIN)? {
            return Ok(found);
        }
        let source = self.node_addresses.source_of(address);
        let last_refusal = self.refusals.recent(&digest, now);
        let waiting = self.cache.waiting_of(source);
        let wait = self.budgets.wait(now, source, waiting);
        // While exchanges of this source are under way, one may earn credentials and give its cost back.
        let is_hopeless = wait > self.max_wait && !self.budgets.is_in_flight(source);
        let is_repeated = !wait.is_zero() && last_refusal.is_some();
        if is_hopeless || is_repeated {
            let flag = self.budgets.flag(source);
            return Err(Denial::OverBudget { flag, last_refusal });
        }
        let verified = self.verified.get(&digest);
        let pod = verified.map(|verified| Arc::clone(verified.pod()));
        let request = || TokenRequest::new(token, digest, pod, address);
        let ticket = match self.cache.ask(now, key, source, request) {
            Asked::Ready(entry) => return Ok(Lookup::Ready(entry.body.clone())),
            Asked::Pending(ticket) => ticket,
            Asked::Full => return Err(Denial::QueueFull),
        };
        self.wake.notify_one();
        let request = self.cache.request_mut(&key);
        let request = request.expect("a key that was asked for must be known");
        let outcome = request.wait_for(ticket);
        Ok(Lookup::Pending(Pending {
            digest,
            key,
            outcome,
        }))
    }

    /// Why a client that has waited for as long as it may gets nothing.
    pub(crate) fn late(
        &mut self,
        now: Timestamp,
        key: &SlotKey,
        error: Option<EksAuthError>,
    ) -> Denial {
        let last_error = error.or_else(|| self.cache.last_error(key).cloned());
        if last_error.is_none() && self.cache.is_waiting(key) {
            let address = self.cache.request_mut(key).map(|known| known.address);
            let source = address.map(|address| self.node_addresses.source_of(address));
            let is_over_budget = |source: &IpAddr| !self.budgets.wait(now, *source, 0).is_zero();
            if let Some(source) = source.filter(is_over_budget) {
                let (flag, last_refusal) = (self.budgets.flag(source), None);
                return Denial::OverBudget { flag, last_refusal };
            }
        }
        let retry_after = self.retry_after(now, key);
        Denial::Late {
            last_error,
            retry_after,
        }
    }

    /// How long until EKS Auth is asked for this token again: the service may wish to be left alone, or
    /// the token rests after a failure.
    fn retry_after(&self, now: Timestamp, key: &SlotKey) -> Duration {
        let resting = self.cache.peek(key).filter(|slot| slot.is_resting());
        let rest = resting.and_then(Slot::poll_timeout);
        let rest = rest.map_or(Duration::ZERO, |end| end.saturating_since(now));
        rest.max(self.pace.quiet_for(now))
    }

    /// Notes that a client got the credentials of a token. Returns what is to be audited: the first use by
    /// each source other than the one that asked first.
    pub(crate) fn note_use(&mut self, digest: TokenDigest, address: IpAddr) -> Option<OtherUse> {
        let key = self.verified.key_of(&digest);
        let request = self.cache.request_mut(&key)?;
        let first_address = request.address;
        let source = self.node_addresses.source_of(address);
        if source == self.node_addresses.source_of(first_address)
            || !self.other_sources.is_new(digest, source)
        {
            return None;
        }
        Some(OtherUse {
            first_address,
            subject: request.subject(),
        })
    }

    /// A fetch to start now: one that EKS Auth grants, and that its source can afford.
    pub(crate) fn poll_fetch(&mut self, now: Timestamp) -> Option<(Running, ExchangeInput)> {
        self.budget_timeout = None;
        self.drop_gone_pods(now);
        self.pace.ready(now).ok()?;
        let (budgets, timeout) = (&mut self.budgets, &mut self.budget_timeout);
        let mut charged = None;
        let may_fetch = |source| match budgets.try_charge(now, source) {
            Ok(()) => {
                charged = Some(source);
                true
            }
            Err(affordable_at) => {
                *timeout = Some(timeout.map_or(affordable_at, |at| at.min(affordable_at)));
                false
            }
        };
        let (attempt, request) = self.cache.poll_fetch(now, may_fetch)?;
        let exchange = ExchangeInput {
            token: request.token.clone(),
            subject: request.subject(),
            address: request.address,
        };
        let digest = request.digest;
        self.pace.started(now);
        let running = Running {
            attempt,
            digest,
            began: now,
            charged,
        };
        Some((running, exchange))
    }

    /// Drops the credentials that are due and whose pods are gone. A pod that asks again nevertheless is
    /// served as a new one is.
    fn drop_gone_pods(&mut self, now: Timestamp) {
        let gone = &self.gone_pods;
        let is_gone = |request: &TokenRequest| {
            let uid = request.pod_uid.as_ref();
            uid.is_some_and(|uid| gone.contains(uid, now))
        };
        self.dropped += self.cache.drop_unneeded(is_gone) as u64;
    }

    /// Takes the result of a fetch, and tells those who wait for it.
    pub(crate) fn finish(
        &mut self,
        fetch: &Running,
        now: Timestamp,
        result: Result<Entry, Failure<EksAuthError>>,
    ) {
        let key = fetch.attempt.key();
        match &result {
            Ok(_) => self.pace.answered(now),
            Err(failure) if failure.class == FailureClass::Throttled => {
                self.pace.throttled(fetch.began, now, failure.retry_after);
            }
            Err(failure) if failure.error.is_own_answer() => {
                self.pace.answered(now);
                self.refusals.note(fetch.digest, now, failure.error.clone());
            }
            Err(_no_answer) => {}
        }
        let succeeded = result.is_ok();
        self.cache.handle_fetched(fetch.attempt, now, result);
        if let Some(source) = fetch.charged {
            let is_usable = |slot: &Slot<_, _>| slot.is_usable(now);
            let earned = succeeded && self.cache.peek(&key).is_some_and(is_usable);
            self.budgets.finish(now, source, earned);
        }
        self.settle(&key);
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        for key in self.cache.handle_timeout(now) {
            self.settle(&key);
        }
    }

    /// When to poll again. `has_place`: one more fetch may be in flight.
    pub(crate) fn poll_timeout(&mut self, now: Timestamp, has_place: bool) -> Option<Timestamp> {
        let paced = self.pace.ready(now).err();
        let ready = match has_place {
            true => paced.unwrap_or(now),
            // Whoever drives this polls when one ends.
            false => Timestamp::MAX,
        };
        let cache = self.cache.poll_timeout_paced(ready);
        let of_budget = self.budget_timeout.filter(|_| has_place);
        let timeouts = [paced, of_budget, cache];
        timeouts.into_iter().flatten().min()
    }

    /// The state of the cache, for the metrics.
    pub(crate) fn reading(&self, now: Timestamp) -> Reading {
        let held = || self.cache.iter_held().map(|(_, slot)| slot);
        let due = held().filter_map(|slot| slot.due_at()).min();
        let expires = held()
            .filter_map(|slot| slot.held())
            .map(Expiring::expiration)
            .min();
        Reading {
            cached: self.cache.held_len(),
            waiting: self.cache.empty_len(),
            evicted: self.cache.evicted(),
            refresh_lag: due.map_or(Duration::ZERO, |due| now.saturating_since(due)),
            shortest_life: expires.map_or(Duration::ZERO, |expires| expires.saturating_since(now)),
            verified: self.verified.len(),
            upstream_rate: self.pace.limit(),
            watched_pods: self.gone_pods.present_len(),
            gone: self.dropped,
            ..Reading::default()
        }
    }

    /// The state in detail, for people.
    pub(crate) fn details(&mut self, now: Timestamp) -> Details {
        Details {
            slots: Slots::of(&mut self.cache, now),
            verified_tokens: self.verified.len(),
            unverified_tokens: self.unverified.len(),
            sources: self.budgets.sources(now),
            pace: Pace {
                limit_per_second: self.pace.limit(),
                quiet_for_seconds: self.pace.quiet_for(now).as_secs_f64(),
            },
        }
    }

    /// Tells those who wait for a slot the outcome, if there is one now.
    fn settle(&mut self, key: &SlotKey) {
        let request = self.cache.request_mut(key);
        let Some(ticket) = request.and_then(|request| request.ticket()) else {
            return;
        };
        let Some(outcome) = self.cache.outcome(key, ticket) else {
            return;
        };
        let outcome = outcome
            .map(|entry| entry.body.clone())
            .map_err(Clone::clone);
        if let Some(request) = self.cache.request_mut(key) {
            request.settle(outcome);
        }
    }
}

/// The tokens of a pod that are good at one time: kubelet projects one for each volume, and renews it when a
/// fifth of its life is left.
const TOKENS_PER_POD: usize = 2;

/// A node has a few hundred pods.
const MAX_VERIFIED: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pod_identity_core::Credentials;
    use pod_identity_testkit::{Issuer, SigningKey};

    use super::*;
    use crate::eks_auth::exchange::Session;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn state() -> State {
        State::new(&Settings::new(7), Arc::default())
    }

    fn token(issuer: &Issuer) -> ServiceAccountToken {
        let text = issuer.token("shop", "cart").mint(NOW);
        ServiceAccountToken::parse(&text).unwrap()
    }

    fn keys(issuer: &Issuer) -> KeySet {
        KeySet::parse(issuer.jwks().as_bytes()).unwrap()
    }

    /// Adopts the token as verified by `verifying`, while `keys` are those of now.
    fn adopt(
        state: &mut State,
        token: &ServiceAccountToken,
        verifying: &KeySet,
        keys: &KeySet,
    ) -> bool {
        let verified = verifying.verify(token).unwrap();
        state.adopt(NOW, token.digest(), verified, token, keys)
    }

    /// Fetches credentials for the token, which EKS Auth issues for this service account.
    fn fetch(state: &mut State, token: &ServiceAccountToken, service_account: &str) {
        let begun = state.begin(NOW, token.digest(), POD, token).unwrap();
        assert!(matches!(begun, Lookup::Pending(_)));
        let (running, input) = state.poll_fetch(NOW).unwrap();
        let secret = || Secret::from("s".to_owned());
        let end = NOW + Duration::from_secs(6 * 3600);
        let credentials = Credentials::new(service_account, secret(), secret(), end);
        let session = Session::new(credentials, "shop", service_account);
        let entry = Entry::new(&session, &input.subject);
        state.finish(&running, NOW, Ok(entry));
    }

    fn is_answered(state: &mut State, token: &ServiceAccountToken) -> bool {
        matches!(
            state.look_up(NOW, token.digest()),
            Ok(Some(Lookup::Ready(_)))
        )
    }

    #[test]
    fn a_refresh_that_waits_for_the_pace_or_a_place_is_not_polled_until_it_may_begin() {
        let (mut state, issuer) = (state(), Issuer::new());
        fetch(&mut state, &token(&issuer), "cart");
        let due = NOW + Duration::from_secs(3 * 3600);
        state.handle_timeout(due);
        assert_eq!(state.poll_timeout(due, true), Some(due));
        let timeout = state.poll_timeout(due, false);
        assert!(timeout.is_none_or(|at| at > due), "{timeout:?}");
        state.pace.throttled(due, due, None);
        let ready = state.pace.ready(due).unwrap_err();
        assert_eq!(state.poll_timeout(due, true), Some(ready));
        state.handle_timeout(ready);
        assert!(state.poll_fetch(ready).is_some());
    }

    #[test]
    fn a_token_whose_key_was_withdrawn_while_it_was_verified_is_not_adopted() {
        let (mut state, issuer) = (state(), Issuer::new());
        let (old, token) = (keys(&issuer), token(&issuer));
        issuer.sign_with(SigningKey::Es256);
        let both = keys(&issuer);
        assert!(adopt(&mut state, &token, &old, &both), "it is known still");
        issuer.forget_old_keys();
        let new = keys(&issuer);
        state.handle_keys(&new);
        assert_eq!(state.verified.len(), 0);
        assert!(!adopt(&mut state, &token, &old, &new));
        assert_eq!(state.verified.len(), 0);
    }

    #[test]
    fn a_slot_that_began_with_an_older_token_goes_on_with_the_newest_that_asks() {
        let issuer = Issuer::new();
        let (mut state, keys) = (state(), keys(&issuer));
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let [old, new] = [10, 60].map(|life| {
            let text = issuer
                .token("shop", "cart")
                .lifetime(minutes(life))
                .mint(NOW);
            ServiceAccountToken::parse(&text).unwrap()
        });
        for token in [&new, &old] {
            assert!(adopt(&mut state, token, &keys, &keys));
        }
        fetch(&mut state, &old, "cart");
        if !is_answered(&mut state, &new) {
            let begun = state.begin(NOW, new.digest(), POD, &new);
            assert!(matches!(begun, Ok(Lookup::Ready(_))));
        }
        let later = NOW + minutes(20);
        state.handle_timeout(later);
        let found = state.look_up(later, new.digest());
        assert!(matches!(found, Ok(Some(Lookup::Ready(_)))));
    }

    #[test]
    fn who_waits_for_a_token_that_turns_out_to_be_of_a_pod_waits_for_the_pods_credentials() {
        let issuer = Issuer::new();
        let keys = keys(&issuer);
        for is_pod_waited_for in [true, false] {
            let mut state = state();
            let [first, second] = [token(&issuer), token(&issuer)];
            assert!(adopt(&mut state, &first, &keys, &keys));
            let wait = |state: &mut State, token: &ServiceAccountToken| match state
                .begin(NOW, token.digest(), POD, token)
                .unwrap()
            {
                Lookup::Pending(pending) => pending.outcome,
                Lookup::Ready(_) => panic!("it has no credentials"),
            };
            let of_pod = wait(&mut state, &first);
            let of_token = wait(&mut state, &second);
            if !is_pod_waited_for {
                // A refusal ends the round of the pod's slot.
                let (running, _) = state.poll_fetch(NOW).unwrap();
                let refused = EksAuthError::Malformed("no credentials".to_owned());
                let refused = Failure::new(FailureClass::Denied, refused);
                state.finish(&running, NOW, Err(refused));
            }
            assert!(adopt(&mut state, &second, &keys, &keys));
            let mut seconds = (0..30).map(|second| NOW + Duration::from_secs(second));
            let (later, running, input) = seconds
                .find_map(|later| {
                    state.handle_timeout(later);
                    let (running, input) = state.poll_fetch(later)?;
                    Some((later, running, input))
                })
                .unwrap();
            let secret = || Secret::from("s".to_owned());
            let end = NOW + Duration::from_secs(6 * 3600);
            let credentials = Credentials::new("key", secret(), secret(), end);
            let session = Session::new(credentials, "shop", "cart");
            let entry = Entry::new(&session, &input.subject);
            state.finish(&running, later, Ok(entry));
            assert!(matches!(*of_token.borrow(), Some(Ok(_))));
            assert_eq!(of_pod.borrow().as_ref().unwrap().is_ok(), is_pod_waited_for);
        }
    }

    #[test]
    fn what_was_verified_with_a_key_is_forgotten_when_another_takes_over_its_kid() {
        let (mut state, issuer) = (state(), Issuer::new());
        let (old, token) = (keys(&issuer), token(&issuer));
        assert!(adopt(&mut state, &token, &old, &old));
        issuer.sign_with(SigningKey::OtherRs256);
        issuer.forget_old_keys();
        let jwks = issuer.jwks();
        let jwks = jwks.replace(SigningKey::OtherRs256.id(), Issuer::KEY_ID);
        let new = KeySet::parse(jwks.as_bytes()).unwrap();
        assert!(new.has(Issuer::KEY_ID));
        state.handle_keys(&new);
        assert_eq!(state.verified.len(), 0);
        assert!(!adopt(&mut state, &token, &old, &new));
    }

    #[test]
    fn what_eks_auth_issued_for_another_service_account_does_not_become_the_pods() {
        let issuer = Issuer::new();
        let keys = keys(&issuer);
        for (service_account, is_kept) in [("cart", true), ("till", false)] {
            let (mut state, token) = (state(), token(&issuer));
            fetch(&mut state, &token, service_account);
            assert!(is_answered(&mut state, &token), "it is not verified yet");
            assert!(adopt(&mut state, &token, &keys, &keys));
            assert_eq!(is_answered(&mut state, &token), is_kept);
            assert_eq!(state.cache.held_len(), usize::from(is_kept));
        }
    }

    #[test]
    fn metrics_and_people_are_told_what_is_held_what_waits_and_what_fails() {
        let (mut state, issuer) = (state(), Issuer::new());
        let [held, waiting] = [token(&issuer), token(&issuer)];
        fetch(&mut state, &held, "cart");
        state.begin(NOW, waiting.digest(), POD, &waiting).unwrap();
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let reading = state.reading(NOW + hours(1));
        assert_eq!((reading.cached, reading.waiting), (1, 1));
        assert_eq!(reading.shortest_life, hours(5));
        assert_eq!(reading.refresh_lag, Duration::ZERO);
        assert_eq!(reading.upstream_rate, None);
        let lag = |hour| state.reading(NOW + hours(hour)).refresh_lag;
        assert!(lag(5) > Duration::ZERO);
        assert_eq!(lag(6), lag(5) + hours(1));

        let details = |state: &mut State, now| serde_json::to_value(state.details(now)).unwrap();
        let before = details(&mut state, NOW);
        let slots = &before["slots"];
        assert_eq!(
            (&slots["held"]["idle"], &slots["unusable"]),
            (&1.into(), &0.into())
        );
        assert_eq!(slots["empty"]["wanted"], 1);
        assert_eq!(slots["failing"].as_array().map(Vec::len), Some(0));
        let (running, _) = state.poll_fetch(NOW).unwrap();
        assert_eq!(details(&mut state, NOW)["slots"]["empty"]["in-flight"], 1);
        assert_eq!(
            details(&mut state, NOW)["sources"]["latest"][0]["exchanges-in-flight"],
            1
        );

        let throttled = EksAuthError::Malformed("slow down".to_owned());
        let throttled = Failure::new(FailureClass::Throttled, throttled);
        state.finish(&running, NOW, Err(throttled));
        let after = details(&mut state, NOW + hours(7));
        let slots = &after["slots"];
        assert_eq!(
            (&slots["empty"]["resting"], &slots["unusable"]),
            (&1.into(), &1.into())
        );
        let failing = slots["failing"].as_array().unwrap();
        assert_eq!(failing.len(), 1, "the held one does not fail: {failing:?}");
        assert_eq!(
            (&failing[0]["failures"], &failing[0]["pod"]),
            (
                &1.into(),
                &serde_json::to_value(waiting.claims().pod.as_ref().unwrap().as_str()).unwrap()
            )
        );
        assert_eq!(after["sources"]["latest"][0]["exchanges-in-flight"], 0);
        assert_eq!(
            after["pace"]["limit-per-second"].as_f64(),
            state.pace.limit()
        );
        assert_eq!(state.reading(NOW).upstream_rate, state.pace.limit());
        assert!(state.pace.limit().is_some());
    }

    fn refusal() -> Failure<EksAuthError> {
        let error = EksAuthError::Refused {
            status: 400,
            code: "AccessDeniedException".to_owned(),
            message: "no".to_owned(),
            request_id: None,
        };
        Failure::new(FailureClass::Denied, error)
    }

    fn begin(
        state: &mut State,
        now: Timestamp,
        token: &ServiceAccountToken,
    ) -> Result<Lookup, Denial> {
        state.begin(now, token.digest(), POD, token)
    }

    fn is_pending(begun: Result<Lookup, Denial>) -> bool {
        matches!(begun, Ok(Lookup::Pending(_)))
    }

    /// One exchange with this result.
    fn exchange(
        state: &mut State,
        token: &ServiceAccountToken,
        result: Result<Entry, Failure<EksAuthError>>,
    ) {
        assert!(is_pending(begin(state, NOW, token)));
        let (running, _) = state.poll_fetch(NOW).unwrap();
        state.finish(&running, NOW, result);
    }

    /// What EKS Auth issues for this token, for this time.
    fn issued(token: &ServiceAccountToken, life: Duration) -> Entry {
        let secret = || Secret::from("s".to_owned());
        let credentials = Credentials::new("key", secret(), secret(), NOW + life);
        Entry::new(
            &Session::new(credentials, "shop", "cart"),
            &token.claims().into(),
        )
    }

    #[test]
    fn a_source_over_its_budget_is_told_its_flag_or_what_eks_auth_said_of_the_token() {
        let (mut state, issuer) = (state(), Issuer::new());
        let tokens: Vec<_> = (0..13).map(|_| token(&issuer)).collect();
        exchange(&mut state, &tokens[0], Err(refusal()));
        assert!(
            is_pending(begin(&mut state, NOW, &tokens[0])),
            "a refused token may ask again within the budget"
        );
        let (running, _) = state.poll_fetch(NOW).unwrap();
        state.finish(&running, NOW, Err(refusal()));
        for token in &tokens[2..10] {
            exchange(&mut state, token, Err(refusal()));
        }
        let denied = |last_refusal| {
            Some(Denial::OverBudget {
                flag: "--pod-budget",
                last_refusal,
            })
        };
        let again = begin(&mut state, NOW, &tokens[0]);
        assert_eq!(again.err(), denied(Some(refusal().error)));
        let soon = begin(&mut state, NOW, &tokens[10]);
        assert!(is_pending(soon), "its turn is in half a second");
        let too_late = begin(&mut state, NOW, &tokens[11]);
        assert_eq!(too_late.err(), denied(None), "its turn is in a second");
        let turn = NOW + Duration::from_millis(500);
        state.handle_timeout(turn);
        assert!(state.poll_fetch(NOW).is_none() && state.poll_fetch(turn).is_some());
        // The exchange under way may earn its cost back.
        for token in &tokens[11..] {
            assert!(is_pending(begin(&mut state, turn, token)));
        }
    }

    #[test]
    fn only_usable_credentials_give_the_cost_of_their_exchange_back() {
        let issuer = Issuer::new();
        let hours = Duration::from_secs(6 * 3600);
        for (life, is_free) in [
            (Some(hours), true),
            (Some(Duration::ZERO), false),
            (None, false),
        ] {
            let mut state = state();
            for _ in 0..10 {
                let token = token(&issuer);
                let result = life.map(|life| issued(&token, life)).ok_or_else(refusal);
                exchange(&mut state, &token, result);
            }
            assert_eq!(
                state.budgets.wait(NOW, POD, 0).is_zero(),
                is_free,
                "{life:?}"
            );
        }
    }

    #[test]
    fn who_has_waited_in_vain_is_told_why_and_when_to_come_again() {
        let (mut state, issuer) = (state(), Issuer::new());
        let unlucky = token(&issuer);
        let key = SlotKey::Token(unlucky.digest());
        let late = |last_error, retry_after| Denial::Late {
            last_error,
            retry_after,
        };
        assert!(is_pending(begin(&mut state, NOW, &unlucky)));
        let (running, _) = state.poll_fetch(NOW).unwrap();
        assert_eq!(state.late(NOW, &key, None), late(None, Duration::ZERO));
        let error = EksAuthError::Malformed("no answer".to_owned());
        let failure = Failure::new(FailureClass::Transient, error.clone());
        state.finish(&running, NOW, Err(failure));
        let Denial::Late {
            last_error,
            retry_after,
        } = state.late(NOW, &key, None)
        else {
            panic!("it is within its budget")
        };
        assert_eq!(last_error, Some(error.clone()));
        assert!(!retry_after.is_zero(), "the token rests");
        let quiet = Duration::from_secs(40);
        state.pace.throttled(NOW, NOW, Some(quiet));
        assert_eq!(
            state.late(NOW, &key, None),
            late(Some(error.clone()), quiet)
        );

        let mut state = self::state();
        for _ in 0..10 {
            exchange(&mut state, &token(&issuer), Err(refusal()));
        }
        assert!(is_pending(begin(&mut state, NOW, &unlucky)));
        let flag = "--pod-budget";
        let over_budget = Denial::OverBudget {
            flag,
            last_refusal: None,
        };
        assert_eq!(state.late(NOW, &key, None), over_budget);
        let with_error = state.late(NOW, &key, Some(error.clone()));
        assert_eq!(with_error, late(Some(error), Duration::ZERO));
    }

    #[test]
    fn a_refusal_is_remembered_and_a_failure_that_says_nothing_of_the_token_is_not() {
        let (mut state, issuer) = (state(), Issuer::new());
        let [refused, unlucky] = [token(&issuer), token(&issuer)];
        exchange(&mut state, &refused, Err(refusal()));
        let timed_out = EksAuthError::timed_out(Duration::from_secs(3));
        exchange(&mut state, &unlucky, Err(timed_out));
        let remembered = |token: &ServiceAccountToken, millis| {
            let later = NOW + Duration::from_millis(millis);
            state.refusals.recent(&token.digest(), later)
        };
        assert_eq!(remembered(&refused, 9_999), Some(refusal().error));
        assert_eq!(remembered(&refused, 10_000), None);
        assert_eq!(remembered(&unlucky, 0), None);
    }

    #[test]
    fn each_token_is_verified_once_and_forged_ones_within_a_budget() {
        let (mut state, issuer) = (state(), Issuer::new());
        let keys = keys(&issuer);
        let [new, verified, foreign, forged] = [(); 4].map(|()| token(&issuer));
        assert!(adopt(&mut state, &verified, &keys, &keys));
        state.note_unverified(foreign.digest(), Unverified::UnknownKey);
        state.note_unverified(forged.digest(), Unverified::WrongSignature);
        let look = |state: &mut State, token: &ServiceAccountToken| {
            let found = state.look_up(NOW, token.digest());
            found.map(|found| assert!(found.is_none(), "there are no credentials"))
        };
        for token in [&new, &verified, &foreign] {
            assert_eq!(look(&mut state, token), Ok(()));
        }
        assert_eq!(look(&mut state, &forged), Err(Denial::WrongSignature));
        let is_due = |state: &mut State, token: &ServiceAccountToken| {
            let verification = state.needs_verification(NOW, &token.digest(), POD, None);
            verification.map(|verification| matches!(verification, Verification::Due))
        };
        assert_eq!(is_due(&mut state, &new), Ok(true));
        assert_eq!(is_due(&mut state, &verified), Ok(false));
        assert_eq!(is_due(&mut state, &foreign), Ok(false));
        assert_eq!(is_due(&mut state, &forged), Err(Denial::WrongSignature));
        for _ in 0..10 {
            assert_eq!(is_due(&mut state, &new), Ok(true));
            state.charge_forged(NOW, POD, None);
        }
        let flag = "--pod-budget";
        assert_eq!(
            is_due(&mut state, &new),
            Err(Denial::TooManyForged { flag })
        );
    }

    #[test]
    fn a_token_with_a_slot_of_its_own_is_verified_when_keys_come_unless_it_has_been() {
        let (mut state, issuer) = (state(), Issuer::new());
        let keys = keys(&issuer);
        let token = token(&issuer);
        assert!(is_pending(begin(&mut state, NOW, &token)));
        assert_eq!(state.tokens(), [token.digest()]);
        let text = state.token(&token.digest());
        assert_eq!(text.unwrap().expose(), token.expose());
        state.note_unverified(token.digest(), Unverified::NotOfPod);
        assert!(state.token(&token.digest()).is_none());
        assert!(adopt(&mut state, &token, &keys, &keys));
        assert_eq!(state.tokens(), [], "the slot is the pod's");
    }

    #[test]
    fn the_first_use_of_a_token_by_each_other_source_is_noted() {
        let (mut state, issuer) = (state(), Issuer::new());
        let token = token(&issuer);
        fetch(&mut state, &token, "cart");
        let mut noted = |address| {
            let other = state.note_use(token.digest(), address)?;
            assert!(other.subject.claimed().is_some());
            Some(other.first_address)
        };
        let other = IpAddr::from([10, 0, 0, 8]);
        assert_eq!(noted(POD), None);
        assert_eq!(noted(other), Some(POD));
        assert_eq!(noted(other), None);
    }

    #[test]
    fn credentials_of_pods_that_are_gone_are_dropped_when_they_are_due() {
        let (issuer, settings) = (Issuer::new(), Settings::new(7));
        let mut state = State::new(&settings, Arc::default());
        let uids = ["cart-0", "cart-1"].map(|pod| {
            let text = issuer.token("shop", "cart").pod(pod).mint(NOW);
            let token = ServiceAccountToken::parse(&text).unwrap();
            fetch(&mut state, &token, "cart");
            token.claims().pod_uid.clone().unwrap()
        });
        for uid in uids.clone() {
            settings.gone_pods.add(uid);
        }
        assert_eq!(state.reading(NOW).watched_pods, 2);
        for uid in uids {
            settings.gone_pods.remove(uid, NOW);
        }
        let due = NOW + Duration::from_secs(4 * 3600);
        state.handle_timeout(due);
        assert!(state.poll_fetch(due).is_none());
        let reading = state.reading(due);
        assert_eq!(
            (reading.cached, reading.gone, reading.watched_pods),
            (0, 2, 0)
        );
    }

    #[test]
    fn metrics_are_told_what_was_evicted_and_how_many_tokens_are_verified() {
        let (issuer, mut settings) = (Issuer::new(), Settings::new(7));
        settings.limits.held = 1;
        let mut state = State::new(&settings, Arc::default());
        for _ in 0..2 {
            fetch(&mut state, &token(&issuer), "cart");
        }
        assert!(state.poll_fetch(NOW).is_none());
        let keys = keys(&issuer);
        assert!(adopt(&mut state, &token(&issuer), &keys, &keys));
        let reading = state.reading(NOW);
        assert_eq!((reading.evicted, reading.verified), (1, 1));
    }

    #[test]
    fn a_token_gets_nothing_from_the_cache_once_it_has_expired() {
        let issuer = Issuer::new();
        let mut state = state();
        let text = issuer
            .token("shop", "cart")
            .lifetime(Duration::from_secs(600));
        let token = ServiceAccountToken::parse(&text.mint(NOW)).unwrap();
        fetch(&mut state, &token, "cart");
        assert!(is_answered(&mut state, &token));
        let expired = state.look_up(NOW + Duration::from_secs(600), token.digest());
        assert!(expired.is_err());
    }

    #[test]
    fn a_refresh_that_brings_the_same_set_is_made_again_soon_and_one_that_brings_another_is_not() {
        let issuer = Issuer::new();
        for (brought, is_same) in [("first", true), ("second", false)] {
            let (mut state, token) = (state(), token(&issuer));
            fetch(&mut state, &token, "first");
            let due = NOW + Duration::from_secs(4 * 3600);
            state.handle_timeout(due);
            let (running, input) = state.poll_fetch(due).unwrap();
            let secret = || Secret::from("s".to_owned());
            // Two sets may expire in the same second, and are two sets nevertheless.
            let end = NOW + Duration::from_secs(6 * 3600);
            let credentials = Credentials::new(brought, secret(), secret(), end);
            let session = Session::new(credentials, "shop", "cart");
            let entry = Entry::new(&session, &input.subject);
            let expected = entry.body.clone();
            state.finish(&running, due, Ok(entry));
            let Ok(Some(Lookup::Ready(body))) = state.look_up(due, token.digest()) else {
                panic!("it holds a set")
            };
            assert_eq!(body, expected);
            assert!(state.poll_fetch(due).is_none(), "it rests");
            let soon = due + Duration::from_secs(60);
            state.handle_timeout(soon);
            assert_eq!(state.poll_fetch(soon).is_some(), is_same);
        }
    }
}
