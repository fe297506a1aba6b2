//! Faults as data, and whole scenarios from a file.

mod eks_part;
mod error;
mod fault_words;
mod happening;
mod in_play;
mod of_agent;
mod of_eks_auth;
mod order;
mod pod_parts;
mod queues;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
mod scenario;
mod span;
mod table;
pub(crate) mod timeline;

pub(crate) use eks_part::Rate;
pub use error::ScenarioError;
#[cfg(feature = "program")]
pub(crate) use fault_words::FaultWords;
#[cfg(feature = "program")]
pub(crate) use order::{Order, OrderError, Orderable};
pub(crate) use pod_parts::Source;
pub(crate) use queues::Queues;
pub use scenario::Scenario;
