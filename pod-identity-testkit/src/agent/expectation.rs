use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use crate::sync::lock;
use crate::{AgentRequest, Ending, Outcome};

/// Expectations about all requests to a [`MockAgent`](crate::MockAgent), created by
/// [`MockAgent::expect`](crate::MockAgent::expect).
///
/// Each call adds an expectation, which is verified when the mock is dropped. A failure lists every request.
///
/// ```no_run
/// # async fn test() {
/// # use pod_identity_testkit::MockAgent;
/// let agent = MockAgent::start().await;
/// agent.expect().times(2).single_flight().token_reread().no_bearer_prefix().connection_reuse();
/// // … run what is tested …
/// # }
/// ```
#[derive(Debug)]
pub struct Expectations<'a>(&'a Mutex<Vec<Expectation>>);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Expectation {
    Times { least: usize, most: usize },
    SingleFlight,
    TokenReread,
    NoBearerPrefix,
    ConnectionReuse,
    Paced(Duration),
}

impl<'a> Expectations<'a> {
    pub(crate) fn new(all: &'a Mutex<Vec<Expectation>>) -> Self {
        Self(all)
    }

    /// Expects exactly `count` requests.
    pub fn times(self, count: usize) -> Self {
        self.and(Expectation::Times {
            least: count,
            most: count,
        })
    }

    /// Expects at least `count` requests.
    pub fn at_least(self, count: usize) -> Self {
        self.and(Expectation::Times {
            least: count,
            most: usize::MAX,
        })
    }

    /// Expects at most `count` requests.
    pub fn at_most(self, count: usize) -> Self {
        self.and(Expectation::Times {
            least: 0,
            most: count,
        })
    }

    /// Expects that no request arrives while another waits for its answer.
    pub fn single_flight(self) -> Self {
        self.and(Expectation::SingleFlight)
    }

    /// Expects that every request carries the token that is in the volume when it arrives.
    pub fn token_reread(self) -> Self {
        self.and(Expectation::TokenReread)
    }

    /// Expects that no request has `Bearer ` before the token.
    pub fn no_bearer_prefix(self) -> Self {
        self.and(Expectation::NoBearerPrefix)
    }

    /// Expects that a request reuses the connection of the previous one, unless that one was closed.
    pub fn connection_reuse(self) -> Self {
        self.and(Expectation::ConnectionReuse)
    }

    /// Expects this time between a request and the next one, by the mock's clock.
    pub fn paced(self, least: Duration) -> Self {
        self.and(Expectation::Paced(least))
    }

    fn and(self, expectation: Expectation) -> Self {
        lock(self.0).push(expectation);
        self
    }
}

impl Expectation {
    /// Returns the failures; `None` if the expectation is met.
    fn failure(self, requests: &[AgentRequest], max_in_flight: usize) -> Option<String> {
        match self {
            Self::Times { least, most } => {
                let count = requests.len();
                let wanted = match (least, most) {
                    (least, usize::MAX) => format!("at least {least}"),
                    (0, most) => format!("at most {most}"),
                    (least, _) => least.to_string(),
                };
                let met = (least..=most).contains(&count);
                (!met).then(|| format!("expected {wanted} requests, saw {count}"))
            }
            Self::SingleFlight => (max_in_flight > 1)
                .then(|| format!("expected one request at a time, saw {max_in_flight} in flight")),
            Self::TokenReread => first(requests, |request| request.token_age != Some(0))
                .map(|number| format!("request {number} did not bring the current token")),
            Self::NoBearerPrefix => first(requests, |request| request.bearer_prefix)
                .map(|number| format!("request {number} has `Bearer ` before its token")),
            Self::ConnectionReuse => second(requests, |one, next| {
                one.connection != next.connection && !ends(one)
            })
            .map(|number| format!("request {number} came over a new connection")),
            Self::Paced(least) => second(requests, |one, next| {
                next.at.saturating_since(one.at) < least
            })
            .map(|number| format!("request {number} came less than {least:?} after the last")),
        }
    }
}

/// The failures and the timeline; `None` when every expectation is met.
pub(crate) fn report(
    expectations: &[Expectation],
    requests: &[AgentRequest],
    max_in_flight: usize,
) -> Option<String> {
    let failures: Vec<String> = expectations
        .iter()
        .filter_map(|expectation| expectation.failure(requests, max_in_flight))
        .collect();
    let timeline = || timeline(requests);
    (!failures.is_empty()).then(|| format!("{}\n{}", failures.join("; "), timeline()))
}

/// Returns one line for each request: its number, its time after the first, and its outcome.
pub(crate) fn timeline(requests: &[AgentRequest]) -> String {
    let start = requests.first().map(|request| request.at);
    let mut lines = String::new();
    for (number, request) in (1..).zip(requests) {
        let at = start.map_or(Duration::ZERO, |start| request.at.saturating_since(start));
        let token = match (request.token_age, &request.token) {
            (Some(0), _) => "current token".to_owned(),
            (Some(age), _) => format!("token of {age} rotations ago"),
            (None, Some(token)) => format!("{token:?}"),
            (None, None) => "no token".to_owned(),
        };
        let bearer = if request.bearer_prefix { "Bearer " } else { "" };
        let outcome = outcome(request.outcome.as_ref());
        // Writing into a string cannot fail.
        let _written = writeln!(
            lines,
            "{number:>4}  +{:.3} s  connection {}  {} {}  {bearer}{token}  {outcome}",
            at.as_secs_f64(),
            request.connection,
            request.method,
            request.path,
        );
    }
    lines
}

fn outcome(outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else {
        return "not answered".to_owned();
    };
    let mut parts = Vec::new();
    parts.extend(outcome.status.map(|status| status.to_string()));
    parts.extend(outcome.access_key_id.clone());
    parts.extend(outcome.ending.map(|ending| match ending {
        Ending::Closed(stage) => format!("closed {stage:?}"),
        Ending::Reset(stage) => format!("reset {stage:?}"),
    }));
    parts.join(" ")
}

fn first(requests: &[AgentRequest], is: impl Fn(&AgentRequest) -> bool) -> Option<usize> {
    requests.iter().position(is).map(|index| index + 1)
}

/// Returns the number of the first request that has this relation to the previous one.
fn second(
    requests: &[AgentRequest],
    is: impl Fn(&AgentRequest, &AgentRequest) -> bool,
) -> Option<usize> {
    let mut pairs = requests.iter().zip(requests.iter().skip(1));
    pairs
        .position(|(one, next)| is(one, next))
        .map(|index| index + 2)
}

fn ends(request: &AgentRequest) -> bool {
    request
        .outcome
        .as_ref()
        .is_none_or(|outcome| outcome.ending.is_some())
}
