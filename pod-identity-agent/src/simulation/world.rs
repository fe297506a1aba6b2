use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, Credentials, Failure, FailureClass, Secret, Timestamp};
use pod_identity_testkit::Issuer;
use tokio::time::{Instant, sleep};

use crate::credentials::rate_limit::Budget;
use crate::tokens::key_source::{Fetching, KeySource, KeysUnavailable};
use crate::{EksAuth, EksAuthError, Exchange, Session};

/// All that is outside of the agent: the time, the cluster with its keys, and EKS Auth. It knows what is true, and
/// notes what must not happen.
pub(super) struct World {
    seed: u64,
    pub(super) issuer: Issuer,
    truth: Mutex<Truth>,
    /// How often the agent has read its clock.
    readings: AtomicU64,
}

struct Truth {
    began: Instant,
    /// By how many milliseconds the node's clock is wrong from when on.
    steps: Vec<(Instant, i64)>,
    mood: Mood,
    healthy_since: Instant,
    /// By service account; `None` without an association.
    roles: Vec<Option<u32>>,
    lifetime: Duration,
    keys: Keys,
    tokens: HashMap<String, Token>,
    /// The latest token of each pod.
    projected: HashMap<usize, String>,
    sets: HashMap<String, Set>,
    sources: HashMap<usize, Level>,
    in_flight: usize,
    /// EKS Auth has asked not to be called until then.
    quiet_until: Instant,
    /// When it did.
    asked_for_quiet: Instant,
    /// Until then the agent may believe so, whose clock has been stepped.
    may_be_quiet_until: Instant,
    exchanges: u64,
    /// The current second, and the exchanges that were granted in it.
    granted: (u64, u32),
    /// What must not happen, and has.
    violations: Vec<String>,
}

/// How EKS Auth is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Healthy,
    Slow,
    Throttling(Option<u64>),
    /// Throttles all but this many exchanges per second.
    Granting(u32),
    Failing,
    Refusing,
    Hanging,
    /// Its sets look expired, or their expiration is absurd.
    Useless,
    /// Each exchange has a mood of its own.
    Mixed,
}

/// How the cluster's keys can be had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Keys {
    Away,
    Hanging,
    There,
}

/// What a token really is.
pub(super) struct Token {
    pub(super) pod: usize,
    /// Nobody may get anything for it.
    pub(super) is_bad: bool,
    pub(super) expires: Timestamp,
    /// The one whose budget its exchanges are charged to.
    pub(super) source: usize,
    exchanges: u64,
    /// When the last exchange began and ended that found its association gone.
    gone: Option<(Instant, Instant)>,
}

struct Set {
    pod: usize,
    token: String,
    role: u32,
    minted: Instant,
    lifetime: Duration,
    expires: Timestamp,
}

/// What a source may still cause by its budget.
struct Level {
    left: f64,
    at: Timestamp,
}

/// One exchange.
struct Plan {
    mood: Mood,
    latency: Duration,
    role_when_it_began: Option<u32>,
    role_is_read_late: bool,
    began: Instant,
    charged: bool,
}

impl World {
    pub(super) fn new(seed: u64, service_accounts: usize) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            seed,
            issuer: Issuer::new(),
            readings: AtomicU64::new(0),
            truth: Mutex::new(Truth {
                began: now,
                steps: vec![(now, 0)],
                mood: Mood::Healthy,
                healthy_since: now,
                roles: (0..service_accounts as u32).map(Some).collect(),
                lifetime: HOUR * 6,
                keys: Keys::Away,
                tokens: HashMap::new(),
                projected: HashMap::new(),
                sets: HashMap::new(),
                sources: HashMap::new(),
                in_flight: 0,
                quiet_until: now,
                asked_for_quiet: now,
                may_be_quiet_until: now,
                exchanges: 0,
                granted: (0, 0),
                violations: Vec::new(),
            }),
        })
    }

    pub(super) fn true_now(&self) -> Timestamp {
        START + self.truth().began.elapsed()
    }

    pub(super) fn step_clock(&self, wrong_by_millis: i64) {
        let mut truth = self.truth();
        truth.steps.push((Instant::now(), wrong_by_millis));
        // By its clock, any time may have passed.
        truth.sources.clear();
        truth.quiet_until = Instant::now();
        if truth.may_be_quiet_until > truth.began {
            truth.may_be_quiet_until = Instant::now() + LONGEST_QUIET;
        }
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        let mut truth = self.truth();
        let was_healthy = std::mem::replace(&mut truth.mood, mood) == Mood::Healthy;
        if mood == Mood::Healthy && !was_healthy {
            truth.healthy_since = Instant::now();
        }
    }

    pub(super) fn set_role(&self, service_account: usize, role: Option<u32>) {
        self.truth().roles[service_account] = role;
    }

    pub(super) fn role_of(&self, pod: usize) -> Option<u32> {
        let truth = self.truth();
        truth.roles[pod % truth.roles.len()]
    }

    pub(super) fn set_lifetime(&self, lifetime: Duration) {
        self.truth().lifetime = lifetime;
    }

    pub(super) fn set_keys(&self, keys: Keys) {
        self.truth().keys = keys;
    }

    /// For how long after this the agent may not call EKS Auth because that has asked for it.
    pub(super) fn quiet_since(&self, began: Instant) -> Duration {
        self.truth()
            .may_be_quiet_until
            .saturating_duration_since(began)
    }

    pub(super) fn exchanges(&self) -> u64 {
        self.truth().exchanges
    }

    pub(super) fn readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.truth().in_flight
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.truth().violations.clone()
    }

    pub(super) fn violate(&self, what: impl fmt::Display) {
        let mut truth = self.truth();
        let violation = truth.at(what);
        truth.violations.push(violation);
    }

    /// A token of a pod, as kubelet projects it.
    pub(super) fn project(&self, pod: usize, source: usize, lifetime: Duration) -> String {
        let now = self.true_now();
        let number = self.truth().tokens.len();
        let service_account = service_account(pod % self.truth().roles.len());
        let token = self
            .issuer
            .token(NAMESPACE, service_account)
            .pod(format!("pod-{pod}"))
            .lifetime(lifetime)
            // A number of the process would make each run another one.
            .claim("jti", format!("{}-{number}", self.seed))
            .mint(now);
        self.introduce(token.clone(), pod, source, now + lifetime, false);
        self.truth().projected.insert(pod, token.clone());
        token
    }

    /// The token of a pod, as whoever has stolen it knows it.
    pub(super) fn stolen(&self, pod: usize) -> Option<String> {
        let mut truth = self.truth();
        let token = truth.projected.get(&pod)?.clone();
        // From now on it is not known whose budget is charged for it.
        truth.tokens.get_mut(&token)?.source = UNKNOWN;
        Some(token)
    }

    /// The token of a pod with another signature, one for each number.
    pub(super) fn forged(&self, pod: usize, number: u32) -> Option<String> {
        let token = self.truth().projected.get(&pod)?.clone();
        let (head, signature) = token.rsplit_once('.')?;
        let (_, rest) = signature.split_at(8);
        Some(format!("{head}.{number:08x}{rest}"))
    }

    /// Notes what a token really is.
    pub(super) fn introduce(
        &self,
        token: String,
        pod: usize,
        source: usize,
        expires: Timestamp,
        is_bad: bool,
    ) {
        let token_is = Token {
            pod,
            is_bad,
            expires,
            source,
            exchanges: 0,
            gone: None,
        };
        match self.truth().tokens.entry(token) {
            Entry::Vacant(unknown) => drop(unknown.insert(token_is)),
            // Several have sent it.
            Entry::Occupied(mut known) if known.get().source != source => {
                known.get_mut().source = UNKNOWN;
            }
            Entry::Occupied(_) => {}
        }
    }

    /// How many sets the agent can have found expired.
    pub(super) fn expired(&self) -> usize {
        let truth = self.truth();
        let by_clock = truth.by_clock(Instant::now());
        let is_expired = |set: &&Set| set.expires < by_clock + MARGIN;
        truth.sets.values().filter(is_expired).count()
    }

    /// Checks that a request with this token may be answered with this set. Returns the role.
    pub(super) fn check_set(&self, token: &str, sent: Instant, set: &Credentials) -> Option<u32> {
        let mut truth = self.truth();
        let (role, violations) = truth.judge(token, sent, set);
        for violation in violations {
            let violation = truth.at(violation);
            truth.violations.push(violation);
        }
        role
    }

    fn begin(&self, token: &str) -> Plan {
        let mut truth = self.truth();
        let truth = &mut *truth;
        let now = Instant::now();
        let by_clock = truth.by_clock(now);
        truth.exchanges += 1;
        truth.in_flight += 1;
        // Within the same moment, the agent may start an exchange before it takes that answer.
        if now < truth.quiet_until && truth.asked_for_quiet < now {
            let violation = truth.at("EKS Auth is called although it asked not to be");
            truth.violations.push(violation);
        }
        let mut charged = false;
        let mut numbers = (UNKNOWN, 0);
        let known = truth.tokens.get_mut(token);
        if let Some(known) = known {
            known.exchanges += 1;
            numbers = (known.pod, known.exchanges);
            let pod = known.pod;
            // Whether one that has ever earned a set is a refresh is not known here.
            charged = known.source != UNKNOWN
                && (known.is_bad || !truth.sets.values().any(|set| set.pod == pod));
            if charged && let Some(wrong) = truth.charge(by_clock, token) {
                truth.violations.push(wrong);
            }
        } else {
            let violation = truth.at("an unknown token is exchanged");
            truth.violations.push(violation);
        }
        // Not one sequence for all, in which the order within a moment would matter.
        let mut random = Rng::with_seed(self.seed ^ ((numbers.0 as u64) << 40) ^ (numbers.1 << 20));
        let mood = match truth.mood {
            Mood::Mixed => match random.u8(..12) {
                0 => Mood::Slow,
                1 => Mood::Throttling(None),
                2 => Mood::Failing,
                3 => Mood::Hanging,
                4 => Mood::Useless,
                _ => Mood::Healthy,
            },
            mood => mood,
        };
        let latency = match mood {
            // An attempt ends after 3 s; whether it was answered then must be clear.
            Mood::Slow => random.u64(200..2_950),
            _ => random.u64(20..120),
        };
        let role = truth.tokens.get(token);
        let role = role.and_then(|token| truth.roles[token.pod % truth.roles.len()]);
        Plan {
            mood,
            latency: Duration::from_millis(latency),
            role_when_it_began: role,
            role_is_read_late: random.bool(),
            began: now,
            charged,
        }
    }

    fn end(&self, token: &str, plan: &Plan) -> Result<Session, Failure<EksAuthError>> {
        let mut truth = self.truth();
        let truth = &mut *truth;
        let now = Instant::now();
        let true_now = START + truth.began.elapsed();
        match plan.mood {
            Mood::Throttling(seconds) => {
                let hint = seconds.map(Duration::from_secs);
                let quiet = hint.unwrap_or_default().min(LONGEST_QUIET);
                if truth.quiet_until < now + quiet {
                    if truth.quiet_until <= now {
                        truth.asked_for_quiet = now;
                    }
                    truth.quiet_until = now + quiet;
                }
                if hint.is_some() {
                    truth.may_be_quiet_until = truth.may_be_quiet_until.max(now + quiet);
                }
                return Err(refused(ErrorCode::Throttling).with_retry_after(hint));
            }
            Mood::Granting(per_second) if !truth.is_granted(per_second) => {
                return Err(refused(ErrorCode::Throttling));
            }
            Mood::Failing => return Err(refused(ErrorCode::InternalServer)),
            Mood::Refusing => return Err(refused(ErrorCode::AccessDenied)),
            _ => {}
        }
        let roles = &truth.roles;
        let Some(known) = truth.tokens.get_mut(token) else {
            return Err(refused(ErrorCode::InvalidToken));
        };
        if known.is_bad {
            return Err(refused(ErrorCode::InvalidToken));
        }
        if known.expires <= true_now {
            return Err(refused(ErrorCode::ExpiredToken));
        }
        let service_account_number = known.pod % roles.len();
        let role = match plan.role_is_read_late {
            true => roles[service_account_number],
            false => plan.role_when_it_began,
        };
        let Some(role) = role else {
            known.gone = Some((plan.began, now));
            return Err(refused(ErrorCode::ResourceNotFound));
        };
        let key = format!("ASIA{:016}", truth.sets.len());
        let lifetime = match plan.mood {
            Mood::Useless if truth.sets.len().is_multiple_of(2) => Duration::from_secs(10),
            Mood::Useless => HOUR * 24 * 365,
            _ => truth.lifetime,
        };
        let set = Set {
            pod: known.pod,
            token: token.to_owned(),
            role,
            minted: now,
            lifetime,
            expires: true_now + lifetime,
        };
        // At most: what does not look usable by its clock is not given back.
        if let Some(level) = truth.sources.get_mut(&known.source) {
            level.left += match plan.charged {
                true => 1.0,
                // It may have been charged nevertheless, and its budget refilled until that was given back.
                false => {
                    let refill = budget_of(known.source).per_second;
                    (refill * plan.began.elapsed().as_secs_f64()).min(1.0)
                }
            };
        }
        let secret = || Secret::from("secret".to_owned());
        let credentials = Credentials::new(key.clone(), secret(), secret(), set.expires);
        truth.sets.insert(key, set);
        let service_account = service_account(service_account_number);
        Ok(Session::new(credentials, NAMESPACE, service_account))
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }
}

impl Truth {
    fn at(&self, what: impl fmt::Display) -> String {
        format!(
            "after {:?}: {what} (EKS Auth is {:?} and {:?} healthy, clock wrong by {:?} ms since {:?})",
            self.began.elapsed(),
            self.mood,
            self.healthy_since.elapsed(),
            self.steps.last().map(|step| step.1),
            self.steps.last().map(|step| step.0.elapsed()),
        )
    }

    /// Whether one more exchange of this second is granted.
    fn is_granted(&mut self, per_second: u32) -> bool {
        let second = self.began.elapsed().as_secs();
        if self.granted.0 != second {
            self.granted = (second, 0);
        }
        self.granted.1 += 1;
        self.granted.1 <= per_second
    }

    fn by_clock(&self, at: Instant) -> Timestamp {
        let (_, wrong_by) = self.steps.iter().rfind(|(from, _)| *from <= at).unwrap();
        shifted(START + (at - self.began), *wrong_by)
    }

    /// The earliest time that the node's clock may have shown when a request was answered.
    fn earliest_by_clock(&self, sent: Instant) -> Timestamp {
        let since = self.steps.iter().filter(|(from, _)| *from > sent);
        let steps = since.map(|(from, wrong_by)| shifted(START + (*from - self.began), *wrong_by));
        steps.fold(self.by_clock(sent), Timestamp::min)
    }

    fn charge(&mut self, by_clock: Timestamp, token: &str) -> Option<String> {
        let source = self.tokens[token].source;
        let budget = budget_of(source);
        let burst = f64::from(budget.burst);
        let full = Level {
            left: burst,
            at: by_clock,
        };
        let level = self.sources.entry(source).or_insert(full);
        let passed = by_clock.saturating_since(level.at).as_secs_f64();
        let refilled = level.left + budget.per_second * passed;
        level.left = refilled.min(burst.max(level.left)) - 1.0;
        level.at = by_clock;
        let left = level.left;
        // Times are whole milliseconds.
        (left < -0.1).then(|| self.at(format!("source {source} has exceeded its budget by {left}")))
    }

    fn judge(&self, token: &str, sent: Instant, set: &Credentials) -> (Option<u32>, Vec<String>) {
        let (Some(known), Some(minted)) =
            (self.tokens.get(token), self.sets.get(set.access_key_id()))
        else {
            return (None, vec!["a set from nowhere".to_owned()]);
        };
        let by_clock = self.earliest_by_clock(sent);
        let mut violations = Vec::new();
        let mut check = |is_right: bool, what: &dyn Fn() -> String| {
            if !is_right {
                violations.push(format!("pod {}: {}", known.pod, what()));
            }
        };
        check(!known.is_bad, &|| "a bad token got a set".to_owned());
        check(minted.pod == known.pod, &|| {
            format!("got the set of pod {}", minted.pod)
        });
        check(known.expires > by_clock, &|| {
            format!("an expired token got a set, by the clock {by_clock}")
        });
        check(set.expiration() == minted.expires, &|| {
            format!("the set expires at {}", minted.expires)
        });
        check(minted.expires >= by_clock + MARGIN, &|| {
            format!(
                "got a set until {}, by the clock {by_clock}",
                minted.expires
            )
        });
        let gone = self.tokens[&minted.token].gone;
        let is_gone = gone.is_some_and(|(began, ended)| minted.minted < began && ended < sent);
        check(!is_gone, &|| {
            "got a set although its association is gone".to_owned()
        });
        // Refreshes are in time, if nothing hinders them.
        let stepped = self.steps.last().unwrap().0;
        let is_steady = self.mood == Mood::Healthy
            && self.healthy_since.elapsed() > UNHINDERED
            && (self.steps.len() == 1 || stepped < minted.minted)
            && self.steps.last().unwrap().1.abs() < 60_000;
        if is_steady && minted.lifetime >= HOUR {
            let left = minted.expires.saturating_since(START + (sent - self.began));
            check(left > SDK_WINDOW, &|| {
                format!("got a set with {left:?} left")
            });
            let age = sent.saturating_duration_since(minted.minted);
            check(age < RETENTION + UNHINDERED, &|| {
                format!("got a set of role {} that is {age:?} old", minted.role)
            });
        }
        (Some(minted.role), violations)
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.truth().by_clock(Instant::now())
    }
}

impl EksAuth for World {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        Box::pin(async move {
            let plan = self.begin(token.expose());
            let _in_flight = InFlight(self);
            match plan.mood {
                Mood::Hanging => std::future::pending().await,
                _ => sleep(plan.latency).await,
            }
            self.end(token.expose(), &plan)
        })
    }
}

/// An exchange that the agent waits for.
struct InFlight<'a>(&'a World);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.truth().in_flight -= 1;
    }
}

/// The keys of the cluster.
#[derive(Debug)]
pub(super) struct KeysOf(pub(super) Arc<World>);

impl KeySource for KeysOf {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            let keys = self.0.truth().keys;
            match keys {
                Keys::Away => Err(KeysUnavailable("no keys today".to_owned())),
                Keys::Hanging => std::future::pending().await,
                Keys::There => {
                    sleep(Duration::from_millis(30)).await;
                    Ok(self.0.issuer.jwks().into_bytes())
                }
            }
        })
    }

    fn name(&self) -> &'static str {
        "issuer"
    }

    fn origin(&self) -> String {
        String::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

fn refused(code: ErrorCode) -> Failure<EksAuthError> {
    let error = EksAuthError::Refused {
        status: code.status(),
        code: code.name().to_owned(),
        message: String::new(),
        request_id: None,
    };
    Failure::new(FailureClass::of(code.status(), Some(code.name())), error)
}

fn budget_of(source: usize) -> Budget {
    match source {
        NODE_SOURCE => Budget::NODE,
        _ => Budget::POD,
    }
}

fn service_account(number: usize) -> String {
    format!("account-{number}")
}

fn shifted(time: Timestamp, by_millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(time.as_unix_millis().saturating_add(by_millis))
}

const NAMESPACE: &str = "shop";

pub(super) const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

/// The source of all pods with host network.
pub(super) const NODE_SOURCE: usize = 1_000_000;

const UNKNOWN: usize = 2_000_000;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// No set with less life is handed out.
const MARGIN: Duration = Duration::from_secs(15);

/// Below it, SDKs ask for each signature.
const SDK_WINDOW: Duration = Duration::from_secs(15 * 60);

/// Sets are renewed after this.
const RETENTION: Duration = Duration::from_secs(3 * 3600);

/// Every refresh that was held up has been made after this, if EKS Auth is well.
const UNHINDERED: Duration = Duration::from_secs(120);

/// No longer hint of EKS Auth is followed.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
