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
