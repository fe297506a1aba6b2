use std::path::{Path, PathBuf};
use std::time::Duration;

use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::SettableClock;
use tokio::time::Instant;

/// A clock that a test sets. If it flows, it follows tokio's time, which may be paused.
///
/// It can be written to a file, which libfaketime makes the wall clock of a program.
#[derive(Debug)]
pub(crate) struct Wall {
    set: SettableClock,
    since: Option<Instant>,
    file: Option<PathBuf>,
}

impl Wall {
    pub(crate) fn standing(now: Timestamp) -> Self {
        Self {
            set: SettableClock::at(now),
            since: None,
            file: None,
        }
    }

    pub(crate) fn flowing(now: Timestamp) -> Self {
        Self {
            since: Some(Instant::now()),
            ..Self::standing(now)
        }
    }

    /// Writes the clock to this file from now on.
    pub(crate) fn written_to(self, file: PathBuf) -> Self {
        self.write(&file);
        Self {
            file: Some(file),
            ..self
        }
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.set.set(now - self.flown());
        self.write_again();
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.set.advance(by);
        self.write_again();
    }

    /// Notifies followers when the test moves the clock.
    pub(crate) fn settable(&self) -> &SettableClock {
        &self.set
    }

    fn flown(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn write_again(&self) {
        if let Some(file) = &self.file {
            self.write(file);
        }
    }

    /// A time without a sign is a clock that stands still; with one, it is ahead of the machine's by so
    /// much. Whoever reads it meanwhile reads the one or the other.
    fn write(&self, file: &Path) {
        // libfaketime truncates to nanoseconds, which must not cost a millisecond.
        let now = seconds(self.now()) + 0.0005;
        let text = match self.since {
            Some(_) => format!("{:+.4}\n", now - seconds(SystemClock.now())),
            None => format!("{now:.4}\n"),
        };
        let next = file.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, file).unwrap();
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.set.now() + self.flown()
    }
}

fn seconds(time: Timestamp) -> f64 {
    let epoch = Timestamp::from_unix_secs(0);
    time.saturating_since(epoch).as_secs_f64()
}
