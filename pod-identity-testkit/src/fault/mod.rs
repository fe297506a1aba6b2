//! Faults, and which requests they are for.

#[expect(clippy::module_inception, reason = "it is the noun of that file")]
pub(crate) mod fault;
pub(crate) mod queue;
pub(crate) mod when;
