use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::expect::expectation::{Expectation, Verdict};
use crate::expect::seen::Seen;
use crate::sync::lock;

/// What is to be true of the requests to a mock; made by [`MockAgent::expect`](crate::MockAgent::expect),
/// [`MockEksAuth::expect`](crate::MockEksAuth::expect) or, for one operation of its own,
/// [`MockEksAuth::expect_on`](crate::MockEksAuth::expect_on).
///
/// Each call adds to what is verified when the mock is dropped. A failure shows every request. An expectation
/// that no request could have broken fails, too: no pace was kept by a single request, and no client read its
/// token anew if the token never changed. [`optional`](Self::optional) is for a test in which that may happen.
///
/// ```no_run
/// # async fn test() {
/// # use pod_identity_testkit::MockAgent;
/// let agent = MockAgent::start().await;
/// agent.expect().times(2).single_flight().token_reread().no_bearer_prefix().connection_reuse();
/// // … run what is tested, with `agent.rotate()` between its requests …
/// # }
/// ```
#[derive(Debug)]
pub struct Expectations<'a, R> {
    all: &'a Mutex<Vec<Expectation<R>>>,
    /// The index of the first that this value adds.
    first: usize,
    of: Option<Of<R>>,
}

/// The requests that expectations speak of.
#[derive(Debug)]
struct Of<R> {
    name: &'static str,
    is: Arc<Is<R>>,
}

struct Is<R>(Box<dyn Fn(&R) -> bool + Send + Sync>);

impl<R> std::fmt::Debug for Is<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl<'a, R: Seen> Expectations<'a, R> {
    pub(crate) fn new(all: &'a Mutex<Vec<Expectation<R>>>) -> Self {
        let first = lock(all).len();
        let of = None;
        Self { all, first, of }
    }

    /// Those of some requests, with their name.
    pub(crate) fn of(
        all: &'a Mutex<Vec<Expectation<R>>>,
        name: &'static str,
        is: impl Fn(&R) -> bool + Send + Sync + 'static,
    ) -> Self {
        let is = Arc::new(Is(Box::new(is)));
        Self {
            of: Some(Of { name, is }),
            ..Self::new(all)
        }
    }

    /// Expects exactly `count` requests.
    pub fn times(self, count: usize) -> Self {
        self.counted(count, count, count.to_string())
    }

    /// Expects at least `count` requests.
    pub fn at_least(self, count: usize) -> Self {
        self.counted(count, usize::MAX, format!("at least {count}"))
    }

    /// Expects at most `count` requests.
    pub fn at_most(self, count: usize) -> Self {
        self.counted(0, count, format!("at most {count}"))
    }

    /// Expects that no request arrives while another one like it waits for its answer. For EKS
    /// Auth, requests with the same token are alike.
    pub fn single_flight(self) -> Self {
        self.and(
            |requests| match requests.iter().map(Seen::in_flight).max() {
                None => unjudged("no request came, so none was the only one in flight"),
                Some(most @ 2..) => Verdict::Broken(format!(
                    "expected one request at a time, saw {most} in flight"
                )),
                Some(_) => Verdict::Met,
            },
        )
    }

    /// Expects each request over the same connection as the one before, unless the answer to that one ended it.
    pub fn connection_reuse(self) -> Self {
        self.and(|requests| {
            let new = |one: &R, next: &R| one.connection() != next.connection() && !ends(one);
            let could = |one: &R, _: &R| !ends(one);
            match second(requests, new) {
                Some(number) => {
                    Verdict::Broken(format!("request {number} came over a new connection"))
                }
                None if second(requests, could).is_none() => {
                    unjudged("no second request came that could reuse a connection")
                }
                None => Verdict::Met,
            }
        })
    }

    /// Expects at least `least` between a request and the next, by the mock's clock.
    pub fn paced(self, least: Duration) -> Self {
        self.and(move |requests| {
            let early = |one: &R, next: &R| next.at().saturating_since(one.at()) < least;
            match second(requests, early) {
                Some(number) => Verdict::Broken(format!(
                    "request {number} came less than {least:?} after the last"
                )),
                None if requests.len() < 2 => unjudged("no second request came that has a pace"),
                None => Verdict::Met,
            }
        })
    }

    /// What this value has expected so far is also met if no request could have broken it.
    pub fn optional(self) -> Self {
        lock(self.all)
            .iter_mut()
            .skip(self.first)
            .for_each(Expectation::set_optional);
        self
    }

    /// Fails at the first request for which `is_wrong` returns true, as "request 3 {wrong}". `judgeable` says of
    /// which requests one could have been wrong; without any, `unseen` is the reason that nothing was judged.
    pub(crate) fn none(
        self,
        is_wrong: impl Fn(&R) -> bool + Send + Sync + 'static,
        wrong: &'static str,
        judgeable: impl Fn(&R) -> bool + Send + Sync + 'static,
        unseen: &'static str,
    ) -> Self {
        self.and(move |requests| match requests.iter().position(&is_wrong) {
            Some(index) => Verdict::Broken(format!("request {} {wrong}", index + 1)),
            None if !requests.iter().any(&judgeable) => unjudged(unseen),
            None => Verdict::Met,
        })
    }

    fn counted(self, least: usize, most: usize, wanted: String) -> Self {
        self.and(move |requests| match requests.len() {
            count if (least..=most).contains(&count) => Verdict::Met,
            count => Verdict::Broken(format!("expected {wanted} requests, saw {count}")),
        })
    }

    fn and(self, judge: impl Fn(&[R]) -> Verdict + Send + Sync + 'static) -> Self {
        let expectation = Expectation::new(judge);
        let expectation = match &self.of {
            Some(Of { name, is }) => {
                let is = Arc::clone(is);
                expectation.of(name, move |request| (is.0)(request))
            }
            None => expectation,
        };
        lock(self.all).push(expectation);
        self
    }
}

fn unjudged(why: &str) -> Verdict {
    Verdict::Unjudged(why.to_owned())
}

/// The number of the first request that has this relation to the one before it.
fn second<R>(requests: &[R], is: impl Fn(&R, &R) -> bool) -> Option<usize> {
    let mut pairs = requests.iter().zip(requests.iter().skip(1));
    pairs
        .position(|(one, next)| is(one, next))
        .map(|index| index + 2)
}

fn ends<R: Seen>(request: &R) -> bool {
    request
        .outcome()
        .is_none_or(|outcome| outcome.ending.is_some())
}
