//! Mocks with their faults and a timeline of events, from a file.

mod eks_part;
mod error;
mod fault_for;
mod happening;
mod pod_parts;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
mod scenario;
mod table;

pub use error::ScenarioError;
pub use scenario::Scenario;
