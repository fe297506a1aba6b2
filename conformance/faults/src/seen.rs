use std::time::Duration;

use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::MockAgent;

use crate::client_process::{CLIENT_TIMEOUT, Reply};

/// A cell of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// Whether the client met the row's fault: it sent a request, or failed without one.
    pub(crate) met: bool,
}

impl Cell {
    /// Returns the cell of a client whose behaviour is random.
    pub(crate) fn random() -> Self {
        Self {
            text: "either, at random".to_owned(),
            met: false,
        }
    }

    /// Adds a remark, unless it is empty.
    pub(crate) fn add(&mut self, remark: &str) {
        if !remark.is_empty() {
            self.text = format!("{}; {remark}", self.text);
        }
    }
}

/// The reply of a client, and what its agent recorded.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) reply: Reply,
    pub(crate) requests: usize,
    /// The number of requests without a token.
    bare: usize,
    /// The time from the first request to the reply.
    took: Duration,
    /// When the last request arrived.
    asked: Option<Timestamp>,
    /// The lifetime of a set, in seconds from then on.
    life: i64,
    counted: bool,
}

impl Seen {
    pub(crate) fn of(agent: &MockAgent, reply: Reply) -> Self {
        Self::after(0, agent, reply)
    }

    /// Ignores the first `before` requests.
    pub(crate) fn after(before: usize, agent: &MockAgent, reply: Reply) -> Self {
        let now = SystemClock.now();
        let requests = agent.requests().split_off(before);
        let took = requests.first().map(|first| now.saturating_since(first.at));
        Self {
            reply,
            requests: requests.len(),
            bare: requests
                .iter()
                .filter(|request| request.token.is_none())
                .count(),
            took: took.unwrap_or_default(),
            asked: requests.last().map(|request| request.at),
            life: 6 * 60 * 60,
            counted: true,
        }
    }

    /// Sets the lifetime of the agent's credentials, in seconds.
    pub(crate) fn expecting(mut self, life: i64) -> Self {
        self.life = life;
        self
    }

    /// Sets the time to the reply, if there is no request from which to count it.
    pub(crate) fn taking(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }

    /// Omits the number of requests, which the agent cannot count.
    pub(crate) fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    pub(crate) fn has_credentials(&self) -> bool {
        matches!(self.reply, Reply::Key(..))
    }

    /// Returns whether the client still has this key.
    pub(crate) fn keeps(&self, held: &str) -> bool {
        matches!(&self.reply, Reply::Key(id, _) if id == held)
    }

    pub(crate) fn cell(&self) -> Cell {
        let text = match &self.reply {
            Reply::Key(id, _) if !id.starts_with("ASIA") => "**another key**".to_owned(),
            Reply::Key(_, expiry) => match self.requests {
                1 => format!("used{}", self.remark(*expiry)),
                many => format!("used, {many} requests{}", self.remark(*expiry)),
            },
            Reply::Without(member) => format!("**used without `{member}`**{}", self.count()),
            Reply::Failed(name) => format!("`{name}`{}", self.count()),
            Reply::Nothing => format!("still waits after {CLIENT_TIMEOUT:?}{}", self.count()),
        };
        Cell {
            text,
            met: self.requests > 0 || !self.has_credentials(),
        }
    }

    /// Returns the cell of a client that already had this key.
    pub(crate) fn renewed(&self, held: &str) -> Cell {
        let mut cell = self.cell();
        if self.has_credentials() {
            let has = if self.keeps(held) {
                "keeps the set"
            } else {
                "gets a new set"
            };
            cell.text = format!("{has}{}", self.count());
        }
        cell
    }

    /// Returns the approximate time in which a client failed: the exact one depends on the machine. Empty for one that
    /// has not failed.
    pub(crate) fn time(&self) -> String {
        if self.has_credentials() || matches!(self.reply, Reply::Nothing) {
            return String::new();
        }
        let within = TIMES.into_iter().find(|time| self.took < *time);
        within.map_or_else(String::new, |time| format!("within {time:?}"))
    }

    fn count(&self) -> String {
        match (self.counted, self.bare) {
            (false, _) => String::new(),
            (true, 0) => format!(" ({})", self.requests),
            (true, bare) => format!(" ({}+{bare})", self.requests.saturating_sub(bare)),
        }
    }

    /// Returns a remark if the client assumes a longer or shorter lifetime than the set has.
    fn remark(&self, expiry: Option<Timestamp>) -> &'static str {
        let (Some(expiry), Some(asked)) = (expiry, self.asked) else {
            return ", **without an expiry**";
        };
        let known = expiry.as_unix_secs() - asked.as_unix_secs();
        match known - self.life {
            DIFFERENT.. => ", **for too long**",
            ..=SHORTER => ", for a shorter time",
            _ => "",
        }
    }
}

/// Some clients report an expiry a few minutes before the real one.
const DIFFERENT: i64 = 15 * 60;
const SHORTER: i64 = -DIFFERENT;

/// No client has a limit close to one of these.
const TIMES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    CLIENT_TIMEOUT,
    Duration::from_secs(120),
];
