use std::time::Duration;

use pod_identity_core::{Clock, ServiceAccountToken, SystemClock};
use pod_identity_testkit::Issuer;

use crate::process::run;

#[tokio::test]
async fn only_the_token_is_printed() {
    let output = run(&[
        "token",
        "--namespace",
        "shop",
        "--service-account",
        "cart",
        "--audience",
        "other",
        "--token-lifetime",
        "10m",
    ])
    .await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    let token = ServiceAccountToken::parse(stdout.trim_end()).unwrap();
    let claims = token.claims();
    assert_eq!(claims.namespace.as_deref(), Some("shop"));
    assert_eq!(claims.service_account.as_deref(), Some("cart"));
    assert_eq!(claims.audience, ["other"]);
    assert!(claims.expires_at <= SystemClock.now() + Duration::from_secs(600));
    assert!(
        Issuer::for_region("us-west-2")
            .verify(stdout.trim_end())
            .is_ok()
    );
}
