//! The command `doctor`: walks the way of credentials, in a pod or on a node, and says where it breaks and
//! what mends it.
//!
//! A walk is a list of [`Step`](step::Step)s. What they can find is in [`findings`], from which the page
//! `docs/troubleshooting.md` is made, too.

pub(crate) mod finding;
pub(crate) mod findings;
mod http_exchange;
mod instance_metadata;
#[cfg(target_os = "linux")]
pub(crate) mod node;
pub(crate) mod page;
pub(crate) mod pod;
pub(crate) mod report;
pub(crate) mod step;
pub(crate) mod surroundings;
