use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::MockEksAuth;

use super::{ROLE, soon};

/// Starts an EKS Auth in real time with an association for `shop/cart`.
pub(crate) async fn shop() -> MockEksAuth {
    let eks = soon(MockEksAuth::start()).await;
    eks.associate("shop", "cart", ROLE);
    eks
}

/// Returns a valid token for `shop/cart`; each call mints another.
pub(crate) fn token(eks: &MockEksAuth) -> String {
    eks.issuer().token("shop", "cart").mint(SystemClock.now())
}
