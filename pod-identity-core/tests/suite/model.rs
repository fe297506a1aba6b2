//! Random lives keep the invariants of slot and cache.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Error, Fetched, START, failure, millis, secs, set};
use pod_identity_core::{
    Ask, Attempt, Credentials, FailureClass, RefreshPolicy, Slot, Ticket, Timestamp,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Returns a configuration with a fixed seed, so that the same code has the same outcome. `PROPTEST_RNG_SEED`
/// chooses another seed and `PROPTEST_CASES` how many cases to run, to search for more.
fn config(cases: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    let is_search = given.rng_seed != RngSeed::Random;
    ProptestConfig {
        cases: if is_search { given.cases } else { cases },
        rng_seed: if is_search {
            given.rng_seed
        } else {
            RngSeed::Fixed(1)
        },
        ..given
    }
}

#[derive(Debug, Clone)]
enum Op {
    Ask(u8),
    /// Answers the attempt in flight of a slot.
    Answer(u8, Brought),
    /// Answers an attempt that has been answered or given up.
    AnswerLate(Brought),
    Advance(Duration),
    Back(Duration),
    /// Goes to the next deadline.
    Timeout,
    Invalidate,
    Refresh,
}

#[derive(Debug, Clone, Copy)]
enum Brought {
    Lifetime(u64),
    Failure(FailureClass, Option<u64>),
}

impl Brought {
    fn fetched(self, key: &str, now: Timestamp) -> Fetched {
        match self {
            Self::Lifetime(lifetime) => Ok(set(key, now + secs(lifetime))),
            Self::Failure(class, hint) => Err(failure(class).with_retry_after(hint.map(secs))),
        }
    }
}

fn brought() -> impl Strategy<Value = Brought> {
    let class = prop_oneof![
        Just(FailureClass::Gone),
        Just(FailureClass::Denied),
        Just(FailureClass::Throttled),
        Just(FailureClass::Transient),
        Just(FailureClass::Malformed),
    ];
    prop_oneof![
        (0..100u64).prop_map(Brought::Lifetime),
        (0..50_000u64).prop_map(Brought::Lifetime),
        (class, proptest::option::of(0..400u64))
            .prop_map(|(class, hint)| Brought::Failure(class, hint)),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![0..5_000u64, 0..120_000u64, 0..20_000_000u64].prop_map(millis)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<u8>().prop_map(Op::Ask),
        4 => (any::<u8>(), brought()).prop_map(|(which, brought)| Op::Answer(which, brought)),
        1 => brought().prop_map(Op::AnswerLate),
        3 => time().prop_map(Op::Advance),
        1 => time().prop_map(Op::Back),
        4 => Just(Op::Timeout),
        1 => Just(Op::Invalidate),
        1 => Just(Op::Refresh),
    ]
}

fn policy() -> impl Strategy<Value = RefreshPolicy> {
    prop_oneof![
        Just(RefreshPolicy::provider()),
        Just(RefreshPolicy::provider().with_serve_expired(false)),
        Just(RefreshPolicy::agent()),
        Just(RefreshPolicy::cross_sdk()),
    ]
}

fn end() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MAX),
        (0..30_000u64).prop_map(|after| START + secs(after))
    ]
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_slot_upholds_its_contract(
        policy in policy(),
        end in end(),
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let mut life = Life::new(policy, end);
        for op in ops {
            life.apply(op);
            life.check();
        }
        life.wind_up();
    }
}

/// The longest that anybody is left waiting when attempts are answered: the agent lingers 30 s, and
/// an attempt that is not answered is given up after 10 s.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

struct Flight {
    attempt: Attempt,
    since: Timestamp,
    overdue: bool,
}

/// A slot with its driver, who knows what it was told.
struct Life {
    slot: Slot<Credentials, Error>,
    policy: RefreshPolicy,
    now: Timestamp,
    flight: Option<Flight>,
    late: Vec<Attempt>,
    waiting: Vec<Ticket>,
    rejected: Option<String>,
    minted: u32,
}

impl Life {
    fn new(policy: RefreshPolicy, end: Timestamp) -> Self {
        Self {
            slot: Slot::new(Arc::new(policy.clone()), 7).with_end(end),
            policy,
            now: START,
            flight: None,
            late: Vec::new(),
            waiting: Vec::new(),
            rejected: None,
            minted: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Ask(_) => self.ask(),
            Op::Answer(_, brought) => self.answer(brought),
            Op::AnswerLate(brought) => {
                if let Some(late) = self.late.pop() {
                    let fetched = brought.fetched("late", self.now);
                    assert!(!self.slot.handle_fetched(late, self.now, fetched));
                }
            }
            Op::Advance(time) => self.now = self.now + time,
            Op::Back(time) => self.now = self.now - time,
            Op::Timeout => self.pass_time(),
            Op::Invalidate => {
                let held = self.slot.held().map(|held| held.access_key_id().to_owned());
                if let Some(key) = held {
                    self.slot.invalidate(&key);
                    self.rejected = Some(key);
                }
            }
            Op::Refresh => {
                let ticket = self.slot.refresh(self.now);
                self.waiting.push(ticket);
            }
        }
        self.drain();
    }

    fn ask(&mut self) {
        let held = match self.slot.ask(self.now) {
            Ask::Ready(held) => held.clone(),
            Ask::Pending(ticket) => return self.waiting.push(ticket),
        };
        if self.policy != RefreshPolicy::cross_sdk() {
            let left = held.expiration().saturating_since(self.now);
            let may_be_stale = self.policy == RefreshPolicy::provider() && self.slot.failures() > 0;
            assert!(left > secs(15) || may_be_stale, "{left:?} left");
            if Some(held.access_key_id()) == self.rejected.as_deref() {
                // Without an attempt since then only where the service asked not to be called.
                let is_blocked = self.slot.last_error().is_some();
                assert!(self.slot.is_rejected() || is_blocked);
            }
        }
    }

    fn answer(&mut self, brought: Brought) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.minted += 1;
        let fetched = brought.fetched(&format!("ASIA{}", self.minted), self.now);
        self.slot.handle_fetched(flight.attempt, self.now, fetched);
        self.late.push(flight.attempt);
    }

    /// After the deadline nothing may be left to do at once.
    fn pass_time(&mut self) {
        let next = self.slot.poll_timeout();
        self.now = next.unwrap_or(self.now).max(self.now);
        for _ in 0..3 {
            self.slot.handle_timeout(self.now);
            self.drain();
        }
        let next = self.slot.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "busy: {:?}",
            self.slot
        );
    }

    fn drain(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.since = flight.since.min(self.now);
            flight.overdue |= flight.since + 2 * flight.attempt.timeout() <= self.now;
        }
        while let Some(attempt) = self.slot.poll_fetch(self.now) {
            let flight = Flight {
                attempt,
                since: self.now,
                overdue: false,
            };
            if let Some(before) = self.flight.replace(flight) {
                assert!(before.overdue, "two attempts in flight");
                self.late.push(before.attempt);
            }
        }
        let slot = &self.slot;
        self.waiting
            .retain(|ticket| slot.outcome(*ticket).is_none());
    }

    fn check(&self) {
        if self.slot.is_vacant() {
            assert_eq!(self.slot.poll_timeout(), None);
            assert!(self.waiting.is_empty(), "nobody may wait for nothing");
        }
        if !self.waiting.is_empty() {
            assert!(self.slot.is_fetching() || self.slot.is_resting());
        }
    }

    /// Answers every attempt from here on: everybody is told within bounded time.
    fn wind_up(&mut self) {
        let since = self.now;
        self.slot.handle_timeout(self.now);
        self.drain();
        while !self.waiting.is_empty() {
            self.pass_time();
            self.answer(Brought::Failure(FailureClass::Transient, None));
            self.drain();
            let waited = self.now.saturating_since(since);
            assert!(waited <= LONGEST_WAIT, "still waiting after {waited:?}");
        }
    }
}

mod cache {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use crate::support::cache::{Answer, CacheDriver, source};
    use pod_identity_core::{CacheAttempt, CacheLimits};

    use super::*;

    proptest! {
        #![proptest_config(config(300))]

        #[test]
        fn a_cache_upholds_its_contract(
            end in end(),
            at_once in prop_oneof![1..4usize, Just(usize::MAX)],
            ops in proptest::collection::vec(op(), 1..120),
        ) {
            let mut limits = CacheLimits::default();
            (limits.held, limits.empty, limits.empty_per_source) = (2, PLACES, PLACES_OF_SOURCE);
            let mut driver = CacheDriver::new(RefreshPolicy::agent(), limits);
            (driver.end, driver.at_once) = (end, at_once);
            let (mut late, mut sources) = (VecDeque::new(), BTreeMap::new());
            for op in ops {
                apply(&mut driver, &mut late, &mut sources, op);
                check(&driver);
            }
            wind_up(&mut driver);
        }
    }

    const KEYS: u8 = 6;

    const PLACES: usize = 4;

    const PLACES_OF_SOURCE: usize = 3;

    fn apply(
        driver: &mut CacheDriver<u8>,
        late: &mut VecDeque<CacheAttempt<u8>>,
        sources: &mut BTreeMap<u8, IpAddr>,
        op: Op,
    ) {
        match op {
            Op::Ask(which) => ask(driver, sources, source(u32::from(which) / 64), which % KEYS),
            Op::Answer(which, brought) => {
                let open = driver.open.len();
                if let Some(attempt) = driver.open.remove(usize::from(which) % open.max(1)) {
                    late.push_back(attempt);
                    driver.answer(attempt, brought.fetched("any", driver.now));
                }
            }
            Op::AnswerLate(brought) => {
                if let Some(attempt) = late.pop_front() {
                    let fetched = brought.fetched("late", driver.now);
                    assert!(!driver.answer(attempt, fetched));
                }
            }
            Op::Advance(time) => driver.now = driver.now + time,
            Op::Back(time) => driver.now = driver.now - time,
            Op::Timeout | Op::Invalidate | Op::Refresh => pass_time(driver),
        }
    }

    /// A newcomer costs no attempt in flight, and nobody who waits anything, except a source that has more than its
    /// own.
    fn ask(
        driver: &mut CacheDriver<u8>,
        sources: &mut BTreeMap<u8, IpAddr>,
        from: IpAddr,
        key: u8,
    ) {
        if driver.cache.peek(&key).is_none() {
            sources.insert(key, from);
        }
        let before: Vec<_> = (0..KEYS)
            .filter(|known| *known != key)
            .filter_map(|known| under_way(driver, sources, known))
            .collect();
        let own = before.iter().filter(|slot| slot.source == from).count();
        let answer = driver.ask_from(from, key);
        let is_gone = |slot: &&UnderWay| driver.cache.peek(&slot.key).is_none();
        let gone: Vec<_> = before.iter().filter(is_gone).collect();
        assert!(gone.len() <= 1, "{gone:?}");
        for slot in gone {
            assert!(!slot.is_in_flight, "{slot:?}");
            assert!(slot.places_of_source >= own + 2, "{slot:?}");
        }
        if answer == Answer::Full {
            let is_full = driver.cache.empty_len() >= PLACES;
            let is_share_full = places_of(driver, sources, from) >= PLACES_OF_SOURCE;
            assert!(is_full || is_share_full, "there is a place");
        }
    }

    /// A slot without a set, with a fetch that no deadline ends now.
    #[derive(Debug)]
    struct UnderWay {
        key: u8,
        source: IpAddr,
        places_of_source: usize,
        is_in_flight: bool,
    }

    fn under_way(
        driver: &CacheDriver<u8>,
        sources: &BTreeMap<u8, IpAddr>,
        key: u8,
    ) -> Option<UnderWay> {
        let slot = driver.cache.peek(&key)?;
        let source = *sources.get(&key)?;
        let lasts = slot.poll_timeout().is_none_or(|end| end > driver.now);
        let is_under_way = slot.held().is_none() && slot.is_under_way() && lasts;
        is_under_way.then(|| UnderWay {
            key,
            source,
            places_of_source: places_of(driver, sources, source),
            is_in_flight: slot.is_fetching() && !slot.wants_fetch(),
        })
    }

    /// The slots without a set of a source that have something left to do.
    fn places_of(driver: &CacheDriver<u8>, sources: &BTreeMap<u8, IpAddr>, from: IpAddr) -> usize {
        let of_source = sources.iter().filter(|(_, source)| **source == from);
        let slots = of_source.filter_map(|(key, _)| driver.cache.peek(key));
        slots
            .filter(|slot| slot.held().is_none() && !slot.is_vacant())
            .count()
    }

    fn pass_time(driver: &mut CacheDriver<u8>) {
        let next = driver.cache.poll_timeout().unwrap_or(driver.now);
        for _ in 0..3 {
            driver.look_at(next.max(driver.now));
        }
        let ready = match driver.open.len() < driver.at_once {
            true => Timestamp::MIN,
            false => Timestamp::MAX,
        };
        let next = driver.cache.poll_timeout_paced(ready);
        assert!(next.is_none_or(|next| next > driver.now), "busy");
    }

    fn check(driver: &CacheDriver<u8>) {
        let cache = &driver.cache;
        let slots: Vec<_> = (0..KEYS).filter_map(|key| cache.peek(&key)).collect();
        let held = slots.iter().filter(|slot| slot.held().is_some()).count();
        assert_eq!(cache.held_len(), held);
        assert_eq!(cache.empty_len(), slots.len() - held);
        assert!(held <= 2 && slots.len() - held <= PLACES + 2);

        let deadline = slots.iter().filter_map(|slot| slot.poll_timeout()).min();
        let next = cache.poll_timeout();
        assert!(
            deadline.is_none_or(|deadline| next.is_some_and(|next| next <= deadline)),
            "a slot's deadline {deadline:?} is missed by {next:?}"
        );
        assert!(
            next == deadline || slots.iter().any(|slot| slot.is_fetching()),
            "{next:?} is nobody's deadline"
        );
        // They are dropped when the driver looks for an attempt to start.
        let looks = driver.open.len() < driver.at_once;
        assert!(!looks || slots.iter().all(|slot| !slot.is_vacant()));
    }

    fn wind_up(driver: &mut CacheDriver<u8>) {
        let since = driver.now;
        driver.look_at(since);
        while driver.is_waiting() {
            pass_time(driver);
            while let Some(attempt) = driver.open.pop_front() {
                let fetched = Brought::Failure(FailureClass::Transient, None);
                driver.answer(attempt, fetched.fetched("any", driver.now));
            }
            let waited = driver.now.saturating_since(since);
            assert!(waited <= LONGEST_WAIT, "still waiting after {waited:?}");
        }
    }
}

/// Tokens of pods, of which some are verified.
mod tokens {
    use std::sync::Arc;

    use crate::support::cache::{Answer, CacheDriver, Request, source};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use pod_identity_core::{
        Adopted, BoundPod, CacheLimits, Expiring, ServiceAccountToken, SlotKey, VerifiedToken,
        VerifiedTokens,
    };

    use super::*;

    proptest! {
        #![proptest_config(config(400))]

        #[test]
        fn tokens_share_what_is_their_pods_and_nothing_else(
            ops in proptest::collection::vec(token_op(), 1..120),
        ) {
            let mut node = Node::new();
            for op in ops {
                node.apply(op);
                node.check();
            }
        }
    }

    #[test]
    fn the_table_of_verified_tokens_grows_to_its_capacity() {
        let mut node = Node::new();
        for which in 0..TOKENS {
            assert_eq!(node.verified.len(), usize::from(which).min(CAPACITY));
            node.verify(which);
        }
        assert_eq!(node.verified.len(), CAPACITY);
    }

    #[derive(Debug, Clone)]
    enum TokenOp {
        Cache(Op),
        /// The keys of the cluster become known: what has a slot is verified.
        LearnKeys,
        /// The cluster withdraws them.
        WithdrawKeys,
    }

    fn token_op() -> impl Strategy<Value = TokenOp> {
        prop_oneof![
            12 => op().prop_map(TokenOp::Cache),
            1 => Just(TokenOp::LearnKeys),
            1 => Just(TokenOp::WithdrawKeys),
        ]
    }

    const PODS: u8 = 3;
    const TOKENS: u8 = 9;
    const CAPACITY: usize = 4;

    struct Node {
        driver: CacheDriver<SlotKey>,
        verified: VerifiedTokens,
        has_keys: bool,
        tokens: Vec<ServiceAccountToken>,
    }

    /// The pod that a token or a set of credentials is for.
    type Pod = String;

    impl Node {
        fn new() -> Self {
            let mut limits = CacheLimits::default();
            (limits.held, limits.empty, limits.empty_per_source) = (3, 4, 3);
            Self {
                driver: CacheDriver::new(RefreshPolicy::agent(), limits),
                verified: VerifiedTokens::new(CAPACITY),
                has_keys: false,
                tokens: (0..TOKENS).map(token).collect(),
            }
        }

        fn apply(&mut self, op: TokenOp) {
            match op {
                TokenOp::LearnKeys => {
                    self.has_keys = true;
                    for which in 0..TOKENS {
                        let own = SlotKey::Token(self.token(which).digest());
                        if self.driver.cache.peek(&own).is_some() {
                            self.verify(which);
                        }
                    }
                }
                TokenOp::WithdrawKeys => {
                    self.has_keys = false;
                    self.verified.forget_withdrawn(|_key| false);
                    assert!(self.verified.is_empty());
                }
                TokenOp::Cache(Op::Ask(which)) => self.ask(which % TOKENS, which),
                TokenOp::Cache(Op::Answer(which, brought)) => {
                    let open = self.driver.open.len();
                    let attempt = self.driver.open.remove(usize::from(which) % open.max(1));
                    if let Some(attempt) = attempt {
                        let set = brought.fetched(&self.pod_of(attempt.key()), self.driver.now);
                        self.driver.answer(attempt, set);
                    }
                }
                TokenOp::Cache(Op::Advance(time)) => self.driver.now = self.driver.now + time,
                TokenOp::Cache(Op::Back(time)) => self.driver.now = self.driver.now - time,
                TokenOp::Cache(_) => {
                    let next = self.driver.cache.poll_timeout();
                    self.driver
                        .look_at(next.unwrap_or(self.driver.now).max(self.driver.now));
                }
            }
        }

        fn ask(&mut self, which: u8, from: u8) {
            let digest = self.token(which).digest();
            if self.has_keys && self.verified.get(&digest).is_none() {
                self.verify(which);
            }
            let key = self.verified.key_of(&digest);
            let now = self.driver.now;
            let slot = self.driver.cache.peek(&key);
            let is_held = slot.is_some_and(|slot| slot.is_usable(now));
            self.driver.end = self.token(which).claims().expires_at;
            let answer = self.driver.ask_from(source(u32::from(from) / 64), key);
            if is_held && key != SlotKey::Token(digest) {
                assert!(matches!(answer, Answer::Ready(_)), "{answer:?}");
            }
            if let Answer::Ready(set) = answer {
                assert_eq!(set, pod(which), "a set of another pod");
            }
        }

        /// Adopts a token as the driver does once its signature was found good.
        fn verify(&mut self, which: u8) {
            let token = self.token(which);
            let (digest, claims) = (token.digest(), token.claims());
            let (validity, end) = (claims.validity(), claims.expires_at);
            let bound = BoundPod::of(claims).expect("the token must be bound to a pod");
            let verified = VerifiedToken::new(bound, validity, Arc::from("key"));
            let (own, pod) = (SlotKey::Token(digest), verified.key());
            let now = self.driver.now;
            let usable = |node: &Self, key| {
                let slot = node.driver.cache.peek(&key);
                slot.is_some_and(|slot| slot.is_usable(now))
            };
            let was_usable = usable(self, own) || usable(self, pod);
            let renew = |request: &mut Request| request.0 = request.0.max(end);
            let cache = &mut self.driver.cache;
            match self.verified.adopt(cache, now, digest, verified, renew) {
                Adopted::ToPod(_) => {
                    assert!(self.driver.cache.peek(&own).is_none());
                    assert!(!was_usable || usable(self, pod), "what was held is held");
                    assert_eq!(self.verified.key_of(&digest), pod);
                    assert!(self.driver.cache.peek(&pod).is_none() || self.expiry_of(pod) >= end);
                }
                Adopted::Later => {
                    assert!(self.driver.cache.peek(&own).is_some());
                    assert_eq!(self.verified.key_of(&digest), own);
                }
            }
            self.driver.drain();
        }

        fn check(&mut self) {
            assert!(self.verified.len() <= CAPACITY);
            let tokens = self
                .tokens
                .iter()
                .map(|token| SlotKey::Token(token.digest()));
            let pods = self.tokens.iter().take(usize::from(PODS)).map(|token| {
                let bound = BoundPod::of(token.claims()).expect("the token must be bound to a pod");
                VerifiedToken::new(bound, token.claims().validity(), Arc::from("key")).key()
            });
            let keys: Vec<_> = tokens.chain(pods).collect();
            let cache = &self.driver.cache;
            let slots: Vec<_> = keys.iter().filter_map(|key| cache.peek(key)).collect();
            let held = slots.iter().filter(|slot| slot.held().is_some()).count();
            assert_eq!(cache.held_len(), held);
            assert_eq!(cache.empty_len(), slots.len() - held);
            let deadline = slots.iter().filter_map(|slot| slot.poll_timeout()).min();
            let next = cache.poll_timeout();
            assert!(
                deadline.is_none_or(|deadline| next.is_some_and(|next| next <= deadline)),
                "a slot's deadline {deadline:?} is missed by {next:?}"
            );
            for key in keys {
                let held = self.driver.cache.peek(&key).and_then(|slot| slot.held());
                if let Some(set) = held.map(|set| set.access_key_id().to_owned()) {
                    assert_eq!(set, self.pod_of(key));
                }
            }
        }

        fn token(&self, which: u8) -> &ServiceAccountToken {
            self.tokens
                .get(usize::from(which))
                .expect("there must be such a token")
        }

        fn expiry_of(&mut self, key: SlotKey) -> Timestamp {
            let request = self.driver.cache.request_mut(&key);
            request.expect("there must be a slot").expiration()
        }

        fn pod_of(&self, key: SlotKey) -> Pod {
            let mut tokens = (0..TOKENS).filter(|which| {
                let token = self.token(*which);
                let bound = BoundPod::of(token.claims()).expect("the token must be bound to a pod");
                let validity = token.claims().validity();
                let pod = VerifiedToken::new(bound, validity, Arc::from("key")).key();
                key == SlotKey::Token(token.digest()) || key == pod
            });
            pod(tokens.next().expect("a key must be of a token"))
        }
    }

    fn pod(which: u8) -> Pod {
        format!("pod-{}", which % PODS)
    }

    fn token(which: u8) -> ServiceAccountToken {
        let exp = START.as_unix_secs() + 4000 * i64::from(which + 1);
        let claims = format!(
            r#"{{"exp":{exp},"jti":"{which}","sub":"system:serviceaccount:shop:cart","kubernetes.io":{{
                "namespace":"shop","pod":{{"name":"{}","uid":"u1"}},
                "serviceaccount":{{"name":"cart","uid":"u2"}}}}}}"#,
            pod(which)
        );
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.AQ", part(r#"{"alg":"RS256"}"#), part(&claims));
        ServiceAccountToken::parse(&text).expect("the token must be well-formed")
    }
}
