use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::info;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

/// How much is logged, which can be changed while the program runs.
#[derive(Clone)]
pub(crate) struct LogLevel(Arc<Shared>);

struct Shared {
    filter: reload::Handle<Targets, Registry>,
    filter_of: fn(LevelFilter) -> Targets,
    /// Held for one change, so that filter and level agree. An event that is logged under it takes the lock of
    /// the writer; nobody takes them the other way round.
    level: Mutex<LevelFilter>,
}

impl LogLevel {
    /// `filter` has been made by `filter_of` from `level`.
    pub(crate) fn new(
        filter: reload::Handle<Targets, Registry>,
        filter_of: fn(LevelFilter) -> Targets,
        level: LevelFilter,
    ) -> Self {
        Self(Arc::new(Shared {
            filter,
            filter_of,
            level: Mutex::new(level),
        }))
    }

    pub(crate) fn get(&self) -> LevelFilter {
        *self.0.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the level, and logs that at the finer of the two levels.
    pub(crate) fn set(&self, level: LevelFilter) {
        let shared = &self.0;
        let mut held = shared.level.lock().unwrap_or_else(PoisonError::into_inner);
        let note = || info!(from = %*held, to = %level, "log level changed");
        if level < *held {
            note();
        }
        // It fails only when the subscriber is gone, and the log with it.
        let _is_there = shared.filter.reload((shared.filter_of)(level));
        if level > *held {
            note();
        }
        *held = level;
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.get()).finish()
    }
}
