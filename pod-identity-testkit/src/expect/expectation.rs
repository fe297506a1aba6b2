use std::fmt;
use std::sync::Arc;

use crate::expect::seen::{Seen, timeline};

/// One thing that is to be true of all requests, or of some of them.
#[derive(Clone)]
pub(crate) struct Expectation<R> {
    judge: Arc<Judge<R>>,
    /// Of which requests it speaks, and their name.
    of: Option<(&'static str, Arc<Filter<R>>)>,
    /// Whether it is met, too, if nothing was seen that could have broken it.
    is_optional: bool,
}

type Judge<R> = dyn Fn(&[R]) -> Verdict + Send + Sync;
type Filter<R> = dyn Fn(&R) -> bool + Send + Sync;

/// What the requests say about an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    /// What is wrong.
    Broken(String),
    /// The requests could not have broken it, for this reason: a test that passes because of that shows nothing.
    Unjudged(String),
}

impl<R: Seen> Expectation<R> {
    pub(super) fn new(judge: impl Fn(&[R]) -> Verdict + Send + Sync + 'static) -> Self {
        Self {
            judge: Arc::new(judge),
            of: None,
            is_optional: false,
        }
    }

    /// Speaks of these requests only.
    pub(super) fn of(
        mut self,
        name: &'static str,
        filter: impl Fn(&R) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.of = Some((name, Arc::new(filter)));
        self
    }

    pub(super) fn set_optional(&mut self) {
        self.is_optional = true;
    }

    /// What is wrong, if something is.
    fn failure(&self, requests: &[R]) -> Option<String> {
        let Some((name, filter)) = &self.of else {
            return self.failure_in(requests);
        };
        let own: Vec<R> = requests
            .iter()
            .filter(|request| filter(request))
            .cloned()
            .collect();
        let failure = self.failure_in(&own)?;
        Some(format!("{name}: {failure}"))
    }

    fn failure_in(&self, requests: &[R]) -> Option<String> {
        match (self.judge)(requests) {
            Verdict::Met => None,
            Verdict::Broken(what) => Some(what),
            Verdict::Unjudged(_why) if self.is_optional => None,
            Verdict::Unjudged(why) => Some(format!(
                "{why}; make that happen in the test, or call `optional` on the expectation"
            )),
        }
    }
}

impl<R> fmt::Debug for Expectation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expectation")
            .field("of", &self.of.as_ref().map(|(name, _)| name))
            .field("is_optional", &self.is_optional)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a test that has ended, one sentence each.
pub(crate) fn failures<R: Seen>(
    expectations: &[Expectation<R>],
    requests: &[R],
    unused_faults: &[String],
) -> Vec<String> {
    let broken = expectations
        .iter()
        .filter_map(|expectation| expectation.failure(requests));
    let unused = unused_faults.iter().map(|fault| {
        format!(
            "no request met {fault}, so the test shows nothing about it; send one that it is for, or make the \
             fault `optional`"
        )
    });
    broken.chain(unused).collect()
}

/// The failures on one line, then the timeline.
///
/// # Panics
/// Panics with them, if there are any.
#[track_caller]
pub(crate) fn assert_none<R: Seen>(mock: &str, failures: &[String], requests: &[R]) {
    assert!(
        failures.is_empty(),
        "{mock}: {}\n{}",
        failures.join("; "),
        timeline(requests)
    );
}
