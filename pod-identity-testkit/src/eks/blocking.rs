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
