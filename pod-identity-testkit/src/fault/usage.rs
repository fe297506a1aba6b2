use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fault::fault::Fault;

/// Whether a fault has had an effect on a request. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Usage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fault: String,
    is_optional: bool,
    /// The members of a success that it changes.
    paths: Vec<String>,
    /// It guards no other data, so relaxed order is enough.
    is_used: AtomicBool,
}

impl Usage {
    pub(crate) fn of(fault: &Fault) -> Self {
        Self(Arc::new(Inner {
            fault: serde_json::to_string(fault).expect("a fault must serialize"),
            is_optional: fault.optional,
            paths: fault.fields.keys().chain(&fault.without).cloned().collect(),
            is_used: AtomicBool::new(false),
        }))
    }

    /// The fault had an effect.
    pub(crate) fn mark(&self) {
        self.0.is_used.store(true, Ordering::Relaxed);
    }

    /// A success was changed, except for these paths, which it does not have.
    pub(crate) fn changed(&self, missing: &[String]) {
        let paths = &self.0.paths;
        if paths.is_empty() || paths.iter().any(|path| !missing.contains(path)) {
            self.mark();
        }
    }

    pub(crate) fn is_used(&self) -> bool {
        self.0.is_used.load(Ordering::Relaxed)
    }

    /// Returns the fault, if a test has to be told that it had no effect.
    pub(crate) fn complaint(&self) -> Option<String> {
        (!self.is_used() && !self.0.is_optional).then(|| self.0.fault.clone())
    }
}
