use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use toml::Spanned;

use crate::expect::expectation::Expectation;
use crate::expect::expectations::Expectations;
use crate::expect::seen::Seen;
use crate::fault::span::Length;
use crate::{AgentRequest, Operation, RecordedRequest};

/// Expectations in a file or from the admin endpoint: the methods of [`Expectations`] by their names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expected {
    operation: Option<Operation>,
    times: Option<usize>,
    at_least: Option<usize>,
    at_most: Option<usize>,
    single_flight: bool,
    connection_reuse: bool,
    paced: Option<Length>,
    token_reread: bool,
    no_bearer_prefix: bool,
    signed: bool,
    succeed: bool,
    pub(crate) patched: bool,
    optional: bool,
}

/// Why expectations are not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExpectedError {
    #[error(
        "nothing is expected; name times, at_least, at_most, single_flight, connection_reuse, paced, or one \
         that only this mock has"
    )]
    Nothing,
    #[error("this mock has no expectation {0}; it is one of {1}")]
    OfAnother(&'static str, &'static str),
}

/// The kind of a mock, as far as expectations differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Eks,
    #[cfg(feature = "webhook")]
    Webhook,
}

impl Expected {
    /// # Errors
    /// Fails if this kind of mock has no such expectation, or if nothing is expected.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), ExpectedError> {
        let own = [
            ("token_reread", self.token_reread, AGENT),
            ("no_bearer_prefix", self.no_bearer_prefix, AGENT),
            ("operation", self.operation.is_some(), EKS),
            ("signed", self.signed, EKS),
            ("succeed", self.succeed, EKS),
            ("patched", self.patched, WEBHOOK),
        ];
        let name = kind.name();
        let of_another = |(_, is_there, of): &&(_, bool, _)| *is_there && *of != name;
        if let Some((member, _, of)) = own.iter().find(of_another) {
            return Err(ExpectedError::OfAnother(member, of));
        }
        let only_own = own
            .iter()
            .any(|(member, is_there, _)| *is_there && *member != "operation");
        let counts = [self.times, self.at_least, self.at_most];
        let any = counts.iter().any(Option::is_some)
            || self.single_flight
            || self.connection_reuse
            || self.paced.is_some();
        match any || only_own {
            true => Ok(()),
            false => Err(ExpectedError::Nothing),
        }
    }

    pub(crate) fn of_agent(&self, to: &Mutex<Vec<Expectation<AgentRequest>>>) {
        let mut all = self.common(Expectations::new(to));
        if self.token_reread {
            all = all.token_reread();
        }
        if self.no_bearer_prefix {
            all = all.no_bearer_prefix();
        }
        self.end(all);
    }

    pub(crate) fn of_eks(&self, to: &Mutex<Vec<Expectation<RecordedRequest>>>) {
        let operation = self
            .operation
            .unwrap_or(Operation::AssumeRoleForPodIdentity);
        let mut all = self.common(Expectations::on(to, operation));
        if self.signed {
            all = all.signed();
        }
        if self.succeed {
            all = all.succeed();
        }
        self.end(all);
    }

    /// Adds those that every mock has.
    pub(crate) fn common<'a, R: Seen>(&self, mut all: Expectations<'a, R>) -> Expectations<'a, R> {
        if let Some(count) = self.times {
            all = all.times(count);
        }
        if let Some(count) = self.at_least {
            all = all.at_least(count);
        }
        if let Some(count) = self.at_most {
            all = all.at_most(count);
        }
        if self.single_flight {
            all = all.single_flight();
        }
        if self.connection_reuse {
            all = all.connection_reuse();
        }
        if let Some(least) = self.paced {
            all = all.paced(least.0);
        }
        all
    }

    /// Adds what concerns all that was added before.
    pub(crate) fn end<R: Seen>(&self, all: Expectations<'_, R>) {
        if self.optional {
            let _all = all.optional();
        }
    }
}

/// Returns the expectations of tables, each of which `add` adds.
pub(super) fn all<R>(
    tables: &[Spanned<Expected>],
    add: fn(&Expected, &Mutex<Vec<Expectation<R>>>),
) -> Vec<Expectation<R>> {
    let all = Mutex::default();
    for expected in tables {
        add(expected.get_ref(), &all);
    }
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agent => AGENT,
            Self::Eks => EKS,
            #[cfg(feature = "webhook")]
            Self::Webhook => WEBHOOK,
        }
    }
}

const AGENT: &str = "agent";
const EKS: &str = "eks";
const WEBHOOK: &str = "webhook";
