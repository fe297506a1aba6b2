use std::fmt;
use std::time::Duration;

use pod_identity_testkit::{Fault, Gate, Stage, TokenDefect};

use crate::play::UNREACHABLE;

/// A part of the table.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    /// A remark about all its rows.
    pub(crate) about: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// A row of the table: a fault that every client meets.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The faulty thing. Neighbours that share it and all their cells are printed as one row.
    pub(crate) subject: String,
    /// The defect.
    pub(crate) what: String,
    pub(crate) trouble: Trouble,
    /// Whether the table shows how long a client takes.
    pub(crate) timed: bool,
}

/// The fault of a row.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The agent has these faults for every request.
    Answers(Vec<Fault>),
    /// As `Answers`, with a delay that the client can honour.
    Hint(Vec<Fault>, Duration),
    /// Every answer pauses at a stage and then goes on.
    Pause(Stage),
    /// The agent redirects to another agent, with this status.
    Elsewhere(u16),
    /// No server listens.
    Absent,
    /// Every attempt to connect is left without an answer.
    Unreachable,
    /// The first request is reset, and then no server listens for this time.
    Outage(Duration),
    /// The official agent's limiter, after a full burst of other requests.
    Limiter,
    /// The token file is defective.
    TokenFile(TokenFileState),
    /// The first set has this lifetime, and the second request meets this.
    Renewal(Duration, Second),
}

/// The state of a defective token file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TokenFileState {
    Defect(TokenDefect),
    /// Written in place, still empty.
    Begun,
    /// Written in place, half complete.
    HalfWritten,
    /// Replaced by moving a plain file there.
    Moved,
    /// The volume is not mounted.
    Removed,
}

/// What happens when a held set is renewed.
#[derive(Debug, Clone)]
pub(crate) enum Second {
    /// The agent has these faults.
    Answers(Vec<Fault>),
    /// The connection of the first answer was closed.
    Closed,
    /// No server listens.
    Absent,
    /// The agent has these faults, and the first set has expired.
    Later(Vec<Fault>),
    /// The token was rotated, and the old one is refused.
    Rotated,
}

impl Row {
    pub(crate) fn new(
        subject: impl Into<String>,
        what: impl Into<String>,
        trouble: Trouble,
    ) -> Self {
        Self {
            subject: subject.into(),
            what: what.into(),
            trouble,
            timed: false,
        }
    }

    pub(crate) fn answers(
        subject: impl Into<String>,
        what: impl Into<String>,
        fault: impl Into<Fault>,
    ) -> Self {
        Self::new(subject, what, Trouble::Answers(vec![fault.into()]))
    }

    pub(crate) fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Returns every fault of the row, as `Debug` shows it.
    pub(crate) fn faults(&self) -> Vec<String> {
        match &self.trouble {
            Trouble::Answers(faults)
            | Trouble::Hint(faults, _)
            | Trouble::Renewal(_, Second::Answers(faults) | Second::Later(faults)) => {
                faults.iter().map(|fault| format!("{fault:?}")).collect()
            }
            Trouble::Pause(stage) => vec![format!("{:?}", Fault::hold(*stage, &Gate::new()))],
            Trouble::Elsewhere(status) => vec![format!("{:?}", Fault::redirect(*status, "/"))],
            Trouble::Unreachable => vec![format!("{:?}", Fault::unreachable(UNREACHABLE))],
            Trouble::Outage(time) => vec![format!("{:?}", Fault::refuse(*time))],
            Trouble::TokenFile(TokenFileState::Defect(defect)) => vec![format!("{defect:?}")],
            Trouble::Renewal(..) | Trouble::Absent | Trouble::Limiter | Trouble::TokenFile(_) => {
                Vec::new()
            }
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what.as_str() {
            "" => f.write_str(&self.subject),
            what => write!(f, "{}: {what}", self.subject),
        }
    }
}
