//! Measurements of this project, side by side with what people use today, in one run.
//!
//! Machines are shared and noisy, so a single figure means little; the ratio of two figures of the same run
//! means more. Each binary prints a table and which of its limits were met.

mod agent;
mod cgroup;
mod load;
mod page;
mod program;
mod table;
mod timing;
mod upstream;

pub use agent::LocalAgent;
pub use cgroup::Cgroup;
pub use load::{Connection, percentile, pod};
pub use page::Page;
pub use program::{Program, Target, free_port};
pub use table::{Limit, Table};
pub use timing::{median, nanoseconds_per_call};
pub use upstream::{Result, Upstream, connected, credentials, peer, warm};
