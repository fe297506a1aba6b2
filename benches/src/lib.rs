//! Measurements of this project, side by side with what people use today, in one run.
//!
//! Machines are shared and noisy, so a figure alone says little; a ratio of two figures from the same
//! run says more. Each binary prints a table and says which of its limits were met.

mod agent;
mod load;
mod program;
mod table;
mod timing;

pub use agent::LocalAgent;
pub use load::{Connection, percentile, pod};
pub use program::{Program, free_port};
pub use table::{Limit, Table};
pub use timing::{median, nanoseconds_per_call};
