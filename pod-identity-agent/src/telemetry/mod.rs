//! What operators read: logs, metrics, the audit, and readiness.

pub(crate) mod audit;
pub(crate) mod audit_file;
pub(crate) mod json_line;
pub(crate) mod line_writer;
pub(crate) mod log_level;
pub mod logging;
pub(crate) mod metrics;
pub(crate) mod printable;
pub(crate) mod readiness;
pub(crate) mod refusal_log;
