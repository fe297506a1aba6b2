use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises this process's limit of open files to what it can need, or to the hard limit if that is lower.
/// Many systems allow 1,024 unless a program asks for more. Returns the limit, if there is one.
pub(crate) fn raise_limit() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)
            .unwrap_or_else(|error| warn!(%error, "the limit of open files cannot be raised"));
    }
    let limit = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Enough for all connections that are accepted, those to EKS Auth, and the listeners.
const ENOUGH: u64 = 8192;
