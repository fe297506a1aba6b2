use std::io;

use crate::{Blocking, MockAgent};

/// A [`MockAgent`] on a thread of its own, for tests without a runtime.
///
/// ```
/// use pod_identity_testkit::MockAgent;
///
/// let agent = MockAgent::start_blocking();
/// assert!(std::net::TcpStream::connect(agent.address()).is_ok());
/// agent.stop();
/// assert!(std::net::TcpStream::connect(agent.address()).is_err());
/// ```
pub type BlockingMockAgent = Blocking<MockAgent>;

impl Blocking<MockAgent> {
    /// As [`MockAgent::stop`].
    pub fn stop(&self) {
        self.wait(MockAgent::stop(self));
    }

    /// As [`MockAgent::restart`].
    ///
    /// # Errors
    /// Fails if another process has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.wait(MockAgent::restart(self))
    }

    /// As [`MockAgent::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(MockAgent::wait_for_requests(self, count));
    }

    /// As [`MockAgent::wait_for_answers`].
    pub fn wait_for_answers(&self, count: usize) {
        self.wait(MockAgent::wait_for_answers(self, count));
    }

    /// As [`MockAgent::catch_up`].
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port.
    pub fn catch_up(&self) -> io::Result<()> {
        self.wait(MockAgent::catch_up(self))
    }

    /// As [`MockAgent::wait_until_idle`].
    pub fn wait_until_idle(&self) {
        self.wait(MockAgent::wait_until_idle(self));
    }
}
