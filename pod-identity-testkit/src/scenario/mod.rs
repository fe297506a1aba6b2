//! Mocks with their faults and a timeline of events, from a file.

pub(crate) mod eks_part;
mod error;
pub(crate) mod expected;
mod fault_for;
mod happening;
mod pod_parts;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
mod scenario;
mod table;

/// Of scenario files, and of the JSON that the program reads and writes with the same words: the ready line, and the
/// admin endpoint with its `openapi.json`. A member may be added without another version.
pub(crate) const VERSION: u32 = 1;

pub use error::ScenarioError;
pub use scenario::Scenario;
