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
