use std::io;

use crate::{Blocking, MockApiServer};

/// A [`MockApiServer`] on a thread of its own, for tests without a runtime.
///
/// ```
/// use pod_identity_testkit::MockApiServer;
///
/// let api_server = MockApiServer::start_blocking();
/// api_server.add_pod("shop", "cart-0", "node-1");
/// assert!(std::net::TcpStream::connect(api_server.address()).is_ok());
/// ```
pub type BlockingMockApiServer = Blocking<MockApiServer>;

impl Blocking<MockApiServer> {
    /// As [`MockApiServer::stop`].
    pub fn stop(&self) {
        self.wait(MockApiServer::stop(self));
    }

    /// As [`MockApiServer::restart`].
    ///
    /// # Errors
    /// Fails if another process has taken the port.
    pub fn restart(&self) -> io::Result<()> {
        self.wait(MockApiServer::restart(self))
    }

    /// As [`MockApiServer::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(MockApiServer::wait_for_requests(self, count));
    }
}
