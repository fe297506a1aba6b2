use std::io;

use crate::{Blocking, MockEksAuth};

/// A [`MockEksAuth`] on a thread of its own, for tests without a runtime.
///
/// ```
/// use pod_identity_testkit::MockEksAuth;
///
/// let eks = MockEksAuth::start_blocking();
/// eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
/// assert!(std::net::TcpStream::connect(eks.address()).is_ok());
/// ```
pub type BlockingMockEksAuth = Blocking<MockEksAuth>;

impl Blocking<MockEksAuth> {
    /// As [`MockEksAuth::stop`].
    pub fn stop(&self) {
        self.wait(MockEksAuth::stop(self));
    }

    /// As [`MockEksAuth::restart`].
    ///
    /// # Errors
    /// Fails if another process has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.wait(MockEksAuth::restart(self))
    }

    /// As [`MockEksAuth::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(MockEksAuth::wait_for_requests(self, count));
    }

    /// As [`MockEksAuth::wait_for_answers`].
    pub fn wait_for_answers(&self, count: usize) {
        self.wait(MockEksAuth::wait_for_answers(self, count));
    }

    /// As [`MockEksAuth::catch_up`].
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port.
    pub fn catch_up(&self) -> io::Result<()> {
        self.wait(MockEksAuth::catch_up(self))
    }

    /// As [`MockEksAuth::wait_until_idle`].
    pub fn wait_until_idle(&self) {
        self.wait(MockEksAuth::wait_until_idle(self));
    }
}
