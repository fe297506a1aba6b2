use std::time::Duration;

use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::MockAgent;

use crate::asker::{PATIENCE, Told};

/// A cell of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) words: String,
    /// Whether the client has met the row's trouble: it had a request with it, or failed without one.
    pub(crate) met: bool,
}

impl Cell {
    /// For what a client does or does not do by chance.
    pub(crate) fn of_chance() -> Self {
        Self {
            words: "one or the other, at random".to_owned(),
            met: false,
        }
    }

    /// Says this too, if it is anything.
    pub(crate) fn add(&mut self, words: &str) {
        if !words.is_empty() {
            self.words = format!("{}; {words}", self.words);
        }
    }
}

/// What a client said, and what its agent saw of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) told: Told,
    pub(crate) requests: usize,
    /// How many of them had no token.
    bare: usize,
    /// How long it has taken since its first request.
    took: Duration,
    /// When the last request arrived.
    asked: Option<Timestamp>,
    /// How many seconds from then on a set is good for.
    life: i64,
    counted: bool,
}

impl Seen {
    pub(crate) fn of(agent: &MockAgent, told: Told) -> Self {
        Self::after(0, agent, told)
    }

    /// Without as many requests from before.
    pub(crate) fn after(before: usize, agent: &MockAgent, told: Told) -> Self {
        let now = SystemClock.now();
        let requests = agent.requests().split_off(before);
        let took = requests.first().map(|first| now.saturating_since(first.at));
        Self {
            told,
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

    /// Sets of the agent live so many seconds.
    pub(crate) fn expecting(mut self, life: i64) -> Self {
        self.life = life;
        self
    }

    /// The agent cannot know how often it was asked.
    pub(crate) fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    pub(crate) fn has_credentials(&self) -> bool {
        matches!(self.told, Told::Key(..))
    }

    /// Whether it still has this key.
    pub(crate) fn keeps(&self, held: &str) -> bool {
        matches!(&self.told, Told::Key(id, _) if id == held)
    }

    pub(crate) fn cell(&self) -> Cell {
        let words = match &self.told {
            Told::Key(id, _) if !id.starts_with("ASIA") => "**another key**".to_owned(),
            Told::Key(_, expiry) => match self.requests {
                1 => format!("used{}", self.remark(*expiry)),
                many => format!("used, {many} requests{}", self.remark(*expiry)),
            },
            Told::Without(member) => format!("**used without `{member}`**{}", self.count()),
            Told::Failed(name) => format!("`{name}`{}", self.count()),
            Told::Nothing => format!("still waits after {PATIENCE:?}{}", self.count()),
        };
        Cell {
            words,
            met: self.requests > 0 || !self.has_credentials(),
        }
    }

    /// The same, for a client that had this key already.
    pub(crate) fn renewed(&self, held: &str) -> Cell {
        let mut cell = self.cell();
        if self.has_credentials() {
            let has = if self.keeps(held) {
                "keeps it"
            } else {
                "gets another"
            };
            cell.words = format!("{has}{}", self.count());
        }
        cell
    }

    /// In which time a client failed, roughly: how long exactly is a matter of the machine.
    pub(crate) fn time(&self) -> String {
        if self.has_credentials() {
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

    /// Whether the client takes the set for one that lives longer or shorter than it does.
    fn remark(&self, expiry: Option<Timestamp>) -> &'static str {
        let (Some(expiry), Some(asked)) = (expiry, self.asked) else {
            return ", **for ever**";
        };
        let known = expiry.as_unix_secs() - asked.as_unix_secs();
        match known - self.life {
            DIFFERENT.. => ", **for too long**",
            ..=SHORTER => ", not for as long",
            _ => "",
        }
    }
}

/// Some clients say an expiry a few minutes before the real one.
const DIFFERENT: i64 = 15 * 60;
const SHORTER: i64 = -DIFFERENT;

/// No client's own limits are close to one of these.
const TIMES: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(15), PATIENCE];
