use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pod_identity_core::{
    BoundPod, Clock, Failure, PodDigest, ServiceAccountToken, SlotKey, Timestamp, TokenDigest,
    TokenError, VerifiedToken,
};
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::credentials::denial::Denial;
use crate::credentials::details::Details;
use crate::credentials::entry::{Entry, NOT_BEFORE_LEEWAY};
use crate::credentials::other_sources::OtherUse;
use crate::credentials::settings::Settings;
use crate::credentials::state::{ExchangeInput, Lookup, Pending, Running, State, Verification};
use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::unavailable::Unavailable;
use crate::eks_auth::upstream::Upstream;
use crate::telemetry::metrics::{Metrics, Reading};
use crate::tokens::key_ring::KeyRing;
use crate::tokens::key_set::Unverified;

/// The prepared answers of all tokens, fetched and refreshed.
///
/// One cache serves all addresses of the agent. A fetch belongs to the cache, not to the client that caused
/// it: a client that gave up finds the answer when it comes back.
///
/// A request takes the lock once if its answer is there, and more often if its token is new, because that
/// is parsed and verified in between, outside the lock. While this one is held, only that of
/// [`GonePods`](crate::kubernetes::gone_pods::GonePods) is taken.
pub(crate) struct CredentialCache {
    upstream: Arc<Upstream>,
    keys: Arc<KeyRing>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Held for a look-up or a change of state, never across an await or a fetch. The clock is read while
    /// it is held, so that the state sees times in order.
    state: Mutex<State>,
    /// Something is to be fetched. The state wakes [`run`](Self::run), and nobody else waits for it.
    wake: Arc<Notify>,
}

impl CredentialCache {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        keys: Arc<KeyRing>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            state: Mutex::new(State::new(&settings, Arc::clone(&wake))),
            metrics: Arc::clone(&upstream.metrics),
            upstream,
            keys,
            clock,
            settings,
            wake,
        }
    }

    /// Looks for the answer to a token, and begins a fetch where it takes one. Never waits.
    pub(crate) fn look_up(&self, token: &[u8], address: IpAddr) -> Result<Lookup, Denial> {
        let digest = TokenDigest::of(token);
        let known = self.lock().look_up(self.clock.now(), digest)?;
        if let Some(found) = known {
            if let Lookup::Ready(_) = found {
                self.note_use(digest, address);
            }
            return Ok(found);
        }
        let token = self.check(token)?;
        let verified = self.verify(&token, digest, address)?;
        let mut state = self.lock();
        let now = self.clock.now();
        let pod = verified.and_then(|verified| {
            let pod = Arc::clone(verified.pod());
            let keys = self.keys.keys();
            let is_adopted = state.adopt(now, digest, verified, &token, &keys);
            is_adopted.then_some(pod)
        });
        let begun = state.begin(now, digest, address, &token);
        drop(state);
        if let (Some(pod), Ok(Lookup::Ready(_))) = (pod, &begun) {
            self.upstream.note_verified(&pod, address);
        }
        begun
    }

    /// Verifies a token that has not been verified before. `None` for one that is EKS Auth's to judge.
    fn verify(
        &self,
        token: &ServiceAccountToken,
        digest: TokenDigest,
        address: IpAddr,
    ) -> Result<Option<VerifiedToken>, Denial> {
        let keys = self.keys.keys();
        if keys.is_empty() {
            self.metrics.count_validation("skipped");
            return Ok(None);
        }
        let claimed = BoundPod::of(token.claims()).map(|pod| PodDigest::of(&pod));
        let verification =
            self.lock()
                .needs_verification(self.clock.now(), &digest, address, claimed)?;
        match verification {
            Verification::Due => {}
            Verification::Done => return Ok(None),
            Verification::LeftToEksAuth => {
                self.metrics.count_validation("skipped");
                return Ok(None);
            }
        }
        let verified = self.keys.verify(token);
        self.metrics.count_validation(match verified {
            Ok(_) => "success",
            Err(Unverified::WrongSignature) => "failure",
            Err(Unverified::UnknownKey | Unverified::NotOfPod) => "skipped",
        });
        let why = match verified {
            Ok(verified) => return Ok(Some(verified)),
            Err(why) => why,
        };
        let mut state = self.lock();
        // Other keys that have come meanwhile may judge otherwise.
        if Arc::ptr_eq(&keys, &self.keys.keys()) {
            if why == Unverified::WrongSignature {
                state.charge_forged(self.clock.now(), address, claimed);
            }
            state.note_unverified(digest, why);
        }
        match why {
            Unverified::WrongSignature => Err(Denial::WrongSignature),
            Unverified::UnknownKey | Unverified::NotOfPod => Ok(None),
        }
    }

    /// Verifies the tokens that are known already whenever the keys of the cluster have been fetched, until
    /// dropped: credentials that were fetched before are then the pod's, whichever of its tokens asks next.
    ///
    /// Also where the keys are the same: a token that names another key causes the next fetch that way, until the
    /// source has that key too.
    pub(crate) async fn verify_with_fetched_keys(&self) {
        let mut fetched = self.keys.fetched();
        // Those that are there at the start are news too.
        fetched.mark_changed();
        while fetched.changed().await.is_ok() {
            let keys = Arc::clone(&fetched.borrow_and_update());
            let tokens = {
                let mut state = self.lock();
                state.handle_keys(&keys);
                state.tokens()
            };
            for digest in tokens {
                self.verify_known(digest);
                // A thousand verifications must not hold up those who ask.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Verifies a token that has a slot of its own.
    fn verify_known(&self, digest: TokenDigest) {
        let keys = self.keys.keys();
        if keys.is_empty() {
            return;
        }
        let Some(token) = self.lock().token(&digest) else {
            return;
        };
        let Ok(token) = ServiceAccountToken::parse(token.expose()) else {
            return;
        };
        let verified = self.keys.verify(&token);
        let mut state = self.lock();
        let keys_now = self.keys.keys();
        match verified {
            Ok(verified) => {
                state.adopt(self.clock.now(), digest, verified, &token, &keys_now);
            }
            // A forged token that was left to EKS Auth is not exchanged again.
            Err(why) if Arc::ptr_eq(&keys, &keys_now) => state.note_unverified(digest, why),
            Err(_) => {}
        }
    }

    /// Waits for the fetch, for as long as a client is to wait.
    pub(crate) async fn wait(
        &self,
        mut pending: Pending,
        address: IpAddr,
    ) -> Result<Bytes, Denial> {
        let settled = pending.outcome.wait_for(Option::is_some);
        let settled = tokio::time::timeout(self.settings.max_wait, settled).await;
        let outcome = match settled {
            Ok(Ok(outcome)) => outcome.clone(),
            // No outcome in time, or none ever, because the slot was evicted.
            Err(_) | Ok(Err(_)) => None,
        };
        match outcome {
            Some(Ok(body)) => {
                self.note_use(pending.digest, address);
                Ok(body)
            }
            Some(Err(error)) if error.is_own_answer() => Err(Denial::EksAuth(error)),
            other => {
                let error = other.and_then(Result::err);
                Err(self.lock().late(self.clock.now(), &pending.key, error))
            }
        }
    }

    /// Fetches what is wanted, until dropped. It owns all fetches, and it is the driver that the contract of
    /// [`SlotCache`](pod_identity_core::SlotCache) speaks of.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut fetches = JoinSet::new();
        let mut running: HashMap<Id, Running> = HashMap::new();
        loop {
            let sleep = self.start_wanted(&mut fetches, &mut running);
            // In a fixed order, so that a simulated schedule can be repeated. Results come first: there are only so many.
            tokio::select! {
                biased;
                Some(joined) = fetches.join_next_with_id() => {
                    let (id, result) = match joined {
                        Ok((id, result)) => (id, result),
                        Err(panicked) => (panicked.id(), Err(abandoned())),
                    };
                    if let Some(fetch) = running.remove(&id) {
                        self.lock().finish(&fetch, self.clock.now(), result);
                        if let SlotKey::Token(digest) = fetch.attempt.key() {
                            // The keys may have come while it was in flight.
                            self.verify_known(digest);
                        }
                    }
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Audits a use by another source than the token's first, if that is wanted.
    fn note_use(&self, digest: TokenDigest, address: IpAddr) {
        if !self.settings.audit_hits {
            return;
        }
        let other = self.lock().note_use(digest, address);
        if let Some(OtherUse {
            first_address,
            subject,
        }) = other
        {
            self.upstream
                .audit_hit(self.clock.now(), address, first_address, &subject);
        }
    }

    /// The state of the cache, for the metrics.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            keys: self.keys.keys().len(),
            keys_age: self.keys.age().unwrap_or_default(),
            verification: self.keys.mode(),
            ..self.lock().reading(self.clock.now())
        }
    }

    /// The state in detail, for people.
    pub(crate) fn details(&self) -> Details {
        self.lock().details(self.clock.now())
    }

    /// Starts every fetch that is wanted and may begin; returns how long there is nothing else to do.
    fn start_wanted(
        self: &Arc<Self>,
        fetches: &mut JoinSet<Result<Entry, Failure<EksAuthError>>>,
        running: &mut HashMap<Id, Running>,
    ) -> Duration {
        let mut state = self.lock();
        let now = self.clock.now();
        state.handle_timeout(now);
        while running.len() < MAX_IN_FLIGHT {
            let Some((fetch, exchange)) = state.poll_fetch(now) else {
                break;
            };
            let (upstream, time) = (Arc::clone(&self.upstream), fetch.attempt.timeout());
            let started = fetches.spawn(async move {
                let ExchangeInput {
                    token,
                    subject,
                    address,
                } = exchange;
                let result = upstream.assume_role(&token, &subject, address, time);
                let session = result.await?;
                Ok(Entry::new(&session, &subject))
            });
            running.insert(started.id(), fetch);
        }
        let has_place = running.len() < MAX_IN_FLIGHT;
        let next = state.poll_timeout(now, has_place).unwrap_or(Timestamp::MAX);
        next.saturating_since(now)
            .clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
    }

    /// Parses a token that is to be exchanged, and checks what can be checked without EKS Auth.
    fn check(&self, token: &[u8]) -> Result<ServiceAccountToken, Denial> {
        let token = std::str::from_utf8(token).map_err(|_no_text| TokenError::Segments);
        let token = token.and_then(ServiceAccountToken::parse);
        let token = token?;
        token
            .claims()
            .check(self.clock.now(), NOT_BEFORE_LEEWAY, &self.settings.audience)?;
        Ok(token)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be a defect, but the node's credentials must outlive it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CredentialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialCache")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Fetches at once: enough for 640 a second at EKS Auth's usual 50 ms, and few connections.
pub(crate) const MAX_IN_FLIGHT: usize = 32;

/// The wall clock is read at least this often, because it may be stepped and a node may sleep.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A fetch that is due, but has to wait for a free place or the pace, is tried again after this.
pub(crate) const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

fn abandoned() -> Failure<EksAuthError> {
    Unavailable::other("the attempt ended without an answer; this is a defect").into()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pod_identity_core::{Credentials, FailureClass, Secret};
    use pod_identity_testkit::{Issuer, SettableClock, SigningKey};
    use tokio::time::sleep;

    use super::*;
    use crate::eks_auth::exchange::{EksAuth, Exchange, Session};
    use crate::eks_auth::outage::Outage;
    use crate::eks_auth::reachability::Reachability;
    use crate::telemetry::audit::AuditLog;
    use crate::telemetry::logging::tests::Memory;
    use crate::telemetry::readiness::Readiness;
    use crate::tokens::key_source::{Fetching, KeySource};

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
    const SECOND: Duration = Duration::from_secs(1);
    pub(crate) const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));

    /// A cache in virtual time, before an EKS Auth that answers as it is told. Its clock stands still.
    pub(crate) struct Running {
        pub(crate) cache: Arc<CredentialCache>,
        pub(crate) metrics: Arc<Metrics>,
        issuer: Issuer,
        eks_auth: Arc<Told>,
        clock: Arc<SettableClock>,
        audit: Memory,
        _tasks: JoinSet<()>,
    }

    #[derive(Debug, Default)]
    struct Told {
        fails: Mutex<Option<Failure<EksAuthError>>>,
        exchanges: AtomicUsize,
    }

    impl EksAuth for Told {
        fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            let fails = self.fails.lock().unwrap().clone();
            Box::pin(async {
                sleep(SECOND / 20).await;
                let secret = || Secret::from("s".to_owned());
                let expires = NOW + 6 * 3600 * SECOND;
                let credentials = Credentials::new("key", secret(), secret(), expires);
                fails.map_or_else(|| Ok(Session::new(credentials, "shop", "cart")), Err)
            })
        }
    }

    /// The keys of an issuer, which take this long to come.
    #[derive(Debug)]
    struct Keys(Issuer, Duration);

    impl KeySource for Keys {
        fn fetch(&self) -> Fetching<'_> {
            Box::pin(async {
                sleep(self.1).await;
                Ok(self.0.jwks().into_bytes())
            })
        }

        fn name(&self) -> &'static str {
            "api-server"
        }

        fn origin(&self) -> String {
            String::new()
        }
    }

    impl Running {
        /// `keys_after`: when the keys of the cluster come, if they do.
        pub(crate) fn start(
            keys_after: Option<Duration>,
            configure: impl FnOnce(&mut Settings),
        ) -> Self {
            let (issuer, audit) = (Issuer::new(), Memory::default());
            let clock = Arc::new(SettableClock::at(NOW));
            let eks_auth = Arc::new(Told::default());
            let metrics = Arc::new(Metrics::new());
            let upstream = Arc::new(Upstream {
                eks_auth: eks_auth.clone(),
                clock: clock.clone(),
                outage: Outage::default(),
                reachability: Reachability::new(&Readiness::new(false)),
                metrics: Arc::clone(&metrics),
                audit: AuditLog::to(audit.clone()),
            });
            let sources = keys_after.map(|after| {
                let keys = Keys(issuer.clone(), after);
                Box::new(keys) as Box<dyn KeySource>
            });
            let keys = Arc::new(KeyRing::new(sources.into_iter().collect(), None));
            let mut settings = Settings::new(7);
            configure(&mut settings);
            let cache = CredentialCache::new(upstream, Arc::clone(&keys), clock.clone(), settings);
            let cache = Arc::new(cache);
            let mut tasks = JoinSet::new();
            let verifying = Arc::clone(&cache);
            tasks.spawn(async move { verifying.verify_with_fetched_keys().await });
            tasks.spawn(async move { keys.run(7).await });
            tasks.spawn(Arc::clone(&cache).run());
            Self {
                cache,
                metrics,
                issuer,
                eks_auth,
                clock,
                audit,
                _tasks: tasks,
            }
        }

        pub(crate) fn token(&self) -> String {
            self.issuer.token("shop", "cart").mint(NOW)
        }

        pub(crate) async fn ask(&self, token: &str, address: IpAddr) -> Result<Bytes, Denial> {
            match self.cache.look_up(token.as_bytes(), address)? {
                Lookup::Ready(body) => Ok(body),
                Lookup::Pending(pending) => self.cache.wait(pending, address).await,
            }
        }

        fn exchanges(&self) -> usize {
            self.eks_auth.exchanges.load(Ordering::Relaxed)
        }

        fn outcomes(&self) -> Vec<String> {
            let lines = self.audit.lines();
            let outcome = |line: &serde_json::Value| line["outcome"].as_str().unwrap().to_owned();
            lines.iter().map(outcome).collect()
        }
    }

    /// The same token with another signature, one for each number.
    fn forged(token: &str, number: u32) -> String {
        let (head, signature) = token.rsplit_once('.').unwrap();
        format!("{head}.{number:08x}{}", &signature[8..])
    }

    #[tokio::test(start_paused = true)]
    async fn with_the_clusters_keys_a_pods_next_token_costs_no_exchange_and_forged_ones_get_nothing()
     {
        let agent = Running::start(Some(Duration::ZERO), |_| {});
        sleep(SECOND).await;
        let (first, second) = (agent.token(), agent.token());
        let body = agent.ask(&first, POD).await.unwrap();
        assert!(!body.is_empty());
        assert_eq!(agent.ask(&second, POD).await, Ok(body));
        assert_eq!(agent.outcomes(), ["issued", "verified"]);
        // Whose key is not the cluster's is EKS Auth's to judge, and costs no verification.
        let foreign = Issuer::new();
        foreign.sign_with(SigningKey::Es256);
        for _ in 0..20 {
            let token = foreign.token("shop", "cart").mint(NOW);
            let answer = agent.ask(&token, POD).await;
            assert!(
                !matches!(answer, Err(Denial::TooManyForged { .. })),
                "{answer:?}"
            );
        }
        let exchanges = agent.exchanges();
        for number in 0..10 {
            let refused = agent.ask(&forged(&first, number), POD).await;
            assert_eq!(refused, Err(Denial::WrongSignature));
        }
        let flag = "--pod-budget";
        let refused = agent.ask(&forged(&first, 10), POD).await;
        assert_eq!(refused, Err(Denial::TooManyForged { flag }));
        assert_eq!(agent.exchanges(), exchanges);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_are_known_are_verified_when_the_keys_come() {
        let agent = Running::start(Some(3 * SECOND), |_| {});
        let reading = agent.cache.reading();
        assert_eq!((reading.keys, reading.keys_age), (0, Duration::ZERO));
        let (first, second) = (agent.token(), agent.token());
        let body = agent.ask(&first, POD).await.unwrap();
        let refused = EksAuthError::timed_out(SECOND);
        *agent.eks_auth.fails.lock().unwrap() = Some(refused);
        let late = agent.ask(&forged(&first, 1), POD).await;
        assert!(matches!(late, Err(Denial::Late { .. })), "{late:?}");
        sleep(5 * SECOND).await;
        assert_eq!(agent.ask(&second, POD).await, Ok(body));
        let reading = agent.cache.reading();
        assert!(reading.keys > 0 && reading.keys_age > SECOND);
        assert_eq!((reading.verification, reading.verified), ("api-server", 2));
        let details = serde_json::to_value(agent.cache.details()).unwrap();
        assert_eq!(details["unverified-tokens"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gets_what_eks_auth_says_of_its_token_and_waits_through_what_it_does_not() {
        let agent = Running::start(None, |settings| settings.max_wait = 60 * SECOND);
        let refused = EksAuthError::Malformed("no subject".to_owned());
        let away = EksAuthError::timed_out(SECOND).error;
        for (class, error, expected) in [
            (
                FailureClass::Malformed,
                refused.clone(),
                Some(Denial::EksAuth(refused)),
            ),
            (FailureClass::Transient, away, None),
        ] {
            let failure = Failure::new(class, error.clone());
            *agent.eks_auth.fails.lock().unwrap() = Some(failure);
            let token = agent.token();
            let asked = agent.ask(&token, POD);
            let clock = async {
                loop {
                    sleep(SECOND).await;
                    agent.clock.advance(SECOND);
                }
            };
            let answer = tokio::select! {
                answer = asked => answer.unwrap_err(),
                () = clock => unreachable!("it ticks for ever"),
            };
            match (&answer, expected) {
                (_, Some(expected)) => assert_eq!(answer, expected),
                (Denial::Late { last_error, .. }, None) => assert_eq!(*last_error, Some(error)),
                (other, None) => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_audit_has_the_first_hit_of_another_source_where_that_is_wanted() {
        for audit_hits in [true, false] {
            let agent = Running::start(None, |settings| settings.audit_hits = audit_hits);
            let token = agent.token();
            for address in [POD, POD, OTHER, OTHER] {
                agent.ask(&token, address).await.unwrap();
            }
            let expected: &[_] = if audit_hits {
                &["issued", "hit"]
            } else {
                &["issued"]
            };
            assert_eq!(agent.outcomes(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_32_exchanges_in_flight_the_next_begins_when_one_ends_and_nothing_polls_for_it() {
        let agent = Running::start(None, |_| {});
        for _ in 0..3 {
            agent.ask(&agent.token(), POD).await.unwrap();
        }
        // Refreshes are due as well, which `poll_timeout` has a time for.
        agent.clock.advance(4 * 3600 * SECOND);
        for pod in 0..40 {
            let address = IpAddr::from([10, 0, 1, pod]);
            let found = agent.cache.look_up(agent.token().as_bytes(), address);
            assert!(matches!(found, Ok(Lookup::Pending(_))));
        }
        // In place of `run`, which has not been polled since.
        let (mut fetches, mut running) = (JoinSet::new(), HashMap::new());
        let sleep = agent.cache.start_wanted(&mut fetches, &mut running);
        assert_eq!(running.len(), 32);
        assert!(agent.cache.reading().refresh_lag > Duration::ZERO);
        assert!(sleep > SECOND, "{sleep:?}");
        let ended = running.keys().copied().next().unwrap();
        running.remove(&ended);
        agent.cache.start_wanted(&mut fetches, &mut running);
        assert_eq!(running.len(), 32);
        assert!(!running.contains_key(&ended));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_over_its_budget_gets_its_exchange_as_soon_as_the_budget_allows_it() {
        let agent = Running::start(None, |_| {});
        let refused = EksAuthError::Malformed("no subject".to_owned());
        let refused = Failure::new(FailureClass::Malformed, refused);
        *agent.eks_auth.fails.lock().unwrap() = Some(refused);
        for _ in 0..10 {
            agent.ask(&agent.token(), POD).await.unwrap_err();
        }
        let found = agent.cache.look_up(agent.token().as_bytes(), POD);
        assert!(matches!(found, Ok(Lookup::Pending(_))));
        sleep(SECOND / 4).await;
        assert_eq!(agent.exchanges(), 10);
        // The budget has two exchanges a second. Nothing else happens, so only its timeout can wake the cache.
        agent.clock.advance(SECOND / 2);
        sleep(SECOND / 4 + 2 * SHORTEST_SLEEP).await;
        assert_eq!(agent.exchanges(), 11);
    }
}
