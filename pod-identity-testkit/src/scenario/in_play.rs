use std::io;

use super::Queues;
use crate::scenario::timeline::Timeline;
use crate::{BlockingMockAgent, BlockingMockEksAuth, Gate, MockAgent, MockEksAuth};

impl MockAgent {
    /// Does what the [scenario](crate::MockAgentBuilder::scenario) has up to now by the mock's clock, and
    /// returns when that is done. It is done by itself, too, within a second.
    ///
    /// # Errors
    /// When the token cannot be written, or somebody else has taken the port meanwhile. It is tried again
    /// every second, and what comes after it waits.
    pub async fn catch_up(&self) -> io::Result<()> {
        Timeline::catch_up(&*self.server).await.map(drop)
    }

    /// The gate that the [scenario](crate::MockAgentBuilder::scenario) calls by this name, if it has not
    /// been released; else a new one.
    pub fn named_gate(&self, name: &str) -> Gate {
        self.server.service().faults.gates().named(name)
    }
}

impl BlockingMockAgent {
    /// As [`MockAgent::catch_up`].
    ///
    /// # Errors
    /// When the token cannot be written, or somebody else has taken the port meanwhile.
    pub fn catch_up(&self) -> io::Result<()> {
        self.handle.block_on(MockAgent::catch_up(self))
    }
}

impl BlockingMockEksAuth {
    /// As [`MockEksAuth::catch_up`].
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub fn catch_up(&self) -> io::Result<()> {
        self.handle.block_on(MockEksAuth::catch_up(self))
    }
}

impl MockEksAuth {
    /// As [`MockAgent::catch_up`].
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub async fn catch_up(&self) -> io::Result<()> {
        Timeline::catch_up(&*self.server).await.map(drop)
    }

    /// As [`MockAgent::named_gate`].
    pub fn named_gate(&self, name: &str) -> Gate {
        self.server.service().faults.gates().named(name)
    }
}
