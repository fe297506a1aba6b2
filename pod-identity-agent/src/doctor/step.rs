use std::future::Future;
use std::pin::Pin;

use crate::doctor::finding::{Finding, Found};

/// A step of a walk along the chain that credentials take. It reads and adds to what the walk knows, `W`.
pub(crate) struct Step<W> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut W) -> Running<'_>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What a step came to. The texts hold no secret.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing is wrong: what was seen.
    Fine(String),
    /// At least one finding.
    Found(Vec<Found>),
    /// The step could not be made: why.
    Skipped(&'static str),
}

/// A step that was made, with its outcome.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) step: &'static str,
    pub(crate) outcome: Outcome,
}

/// Makes the steps in order. A fault does not end the walk: a step that needs what an earlier one did not
/// find skips itself, and the others may find more.
pub(crate) async fn walk<W>(steps: &[Step<W>], walker: &mut W) -> Vec<Taken> {
    let mut taken = Vec::new();
    for step in steps {
        let outcome = (step.run)(walker).await;
        taken.push(Taken {
            step: step.name,
            outcome,
        });
    }
    taken
}

impl Outcome {
    pub(crate) fn found(finding: &'static Finding, detail: impl Into<String>) -> Self {
        Self::Found(vec![finding.with(detail)])
    }

    /// The findings, or else `fine`.
    pub(crate) fn of(found: Vec<Found>, fine: impl Into<String>) -> Self {
        if found.is_empty() {
            Self::Fine(fine.into())
        } else {
            Self::Found(found)
        }
    }

    pub(crate) fn all_found(&self) -> &[Found] {
        match self {
            Self::Found(found) => found,
            Self::Fine(_) | Self::Skipped(_) => &[],
        }
    }
}
