use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::MockEksAuth;

use super::{ROLE, soon};

/// An EKS Auth in real time that knows `shop/cart`.
pub(crate) async fn shop() -> MockEksAuth {
    let eks = soon(MockEksAuth::start()).await;
    eks.associate("shop", "cart", ROLE);
    eks
}

/// A good token for `shop/cart`; each call mints another.
pub(crate) fn token(eks: &MockEksAuth) -> String {
    eks.issuer().token("shop", "cart").mint(SystemClock.now())
}
