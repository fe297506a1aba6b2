//! Faults: what they are, and which requests they are for.

pub(crate) mod change;
pub(crate) mod choice;
pub(crate) mod effect;
pub(crate) mod error;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
pub(crate) mod fault;
pub(crate) mod fault_queues;
pub(crate) mod faults;
pub(crate) mod field_defect;
pub(crate) mod headers;
pub(crate) mod hidden;
pub(crate) mod member;
pub(crate) mod operation;
pub(crate) mod queue;
pub(crate) mod requester;
pub(crate) mod requests;
pub(crate) mod responder;
pub(crate) mod schedule;
pub(crate) mod span;
pub(crate) mod usage;
