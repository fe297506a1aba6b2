use std::fmt;
use std::time::Duration;

use pod_identity_testkit::{Fault, Gate, Stage, TokenDefect};

/// A part of the table.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    /// What is to be known of all its rows.
    pub(crate) about: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// A row of the table: what every client meets.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What is at fault. Neighbours that share it, and every cell, are printed as one row.
    pub(crate) subject: String,
    /// What is wrong with it.
    pub(crate) what: String,
    pub(crate) trouble: Trouble,
    /// Whether how long a client takes is of interest.
    pub(crate) timed: bool,
}

/// What is done to a client.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The agent does this to every request.
    Answers(Vec<Fault>),
    /// As before; the client may heed how long it is told to wait.
    Hint(Vec<Fault>, Duration),
    /// Every answer pauses at a stage and then goes on.
    Pause(Stage),
    /// The agent sends the client to somebody else, with this status.
    Elsewhere(u16),
    /// Nobody listens.
    Absent,
    /// The first request is reset, and then nobody listens for so long.
    Outage(Duration),
    /// The official agent's limiter, after as many requests of others as it lets through.
    Limiter,
    /// The token's file is not as it should be.
    TokenFile(Spoil),
    /// The first set lives so long; when it is asked for a second time, this happens.
    Renewal(Duration, Second),
}

/// What is wrong with the token's file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoil {
    Defect(TokenDefect),
    /// Written in place, and so far nothing is in it.
    Begun,
    /// Written in place, and half of it is there.
    HalfWritten,
    /// A plain file was moved there.
    Moved,
    /// The volume is not mounted.
    Removed,
}

/// What happens when a set in hand is to be renewed.
#[derive(Debug, Clone)]
pub(crate) enum Second {
    /// The agent does this.
    Answers(Vec<Fault>),
    /// The first answer's connection has been closed without a word.
    Closed,
    /// Nobody listens.
    Absent,
    /// The agent does this, and the first set has expired.
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

    /// Every fault in it, as `Debug` shows it.
    pub(crate) fn faults(&self) -> Vec<String> {
        match &self.trouble {
            Trouble::Answers(faults)
            | Trouble::Hint(faults, _)
            | Trouble::Renewal(_, Second::Answers(faults) | Second::Later(faults)) => {
                faults.iter().map(|fault| format!("{fault:?}")).collect()
            }
            Trouble::Pause(stage) => vec![format!("{:?}", Fault::hold(*stage, &Gate::new()))],
            Trouble::Elsewhere(status) => vec![format!("{:?}", Fault::redirect(*status, "/"))],
            Trouble::Outage(time) => vec![format!("{:?}", Fault::refuse(*time))],
            Trouble::TokenFile(Spoil::Defect(defect)) => vec![format!("{defect:?}")],
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
