//! What mocks record of requests: within a limit of memory, and without secrets.

pub(crate) mod newest;
pub(crate) mod recorder;
pub(crate) mod redaction;
pub(crate) mod size;
