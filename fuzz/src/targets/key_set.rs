use std::fs;

use pod_identity_agent::{Agent, SdkEksAuth, TokenKeys};
use pod_identity_core::Timestamp;
use pod_identity_testkit::Issuer;

use super::{Check, Target};

pub(super) const TARGET: Target = Target {
    name: "key_set",
    cases: 500,
    words: &[
        "\"keys\":",
        "\"kty\":",
        "\"RSA\"",
        "\"EC\"",
        "\"kid\":",
        "\"alg\":",
        "\"RS256\"",
        "\"ES256\"",
        "\"use\":",
        "\"n\":",
        "\"e\":\"AQAB\"",
        "\"crv\":\"P-256\"",
        "\"cluster\":\"prod\"",
    ],
    check,
};

/// The issuer of the testkit refuses a set in one line or verifies with it, and an agent starts with any file.
///
/// `KEYS` stands for the public keys of the issuer.
fn check() -> Check {
    let issuer = Issuer::new();
    let keys = issuer.jwks();
    let keys = keys
        .trim()
        .trim_start_matches("{\"keys\":[")
        .trim_end_matches("]}")
        .to_owned();
    let token = issuer
        .token("shop", "cart")
        .mint(Timestamp::from_unix_secs(1_772_366_400));
    let folder = tempfile::tempdir().expect("there must be a folder for temporary files");
    Box::new(move |input| {
        let text = String::from_utf8_lossy(input).replace("KEYS", &keys);
        let cluster = Issuer::new();
        match cluster.trust_cluster(&text) {
            Ok(()) => drop(cluster.verify(&token)),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
        let file = folder.path().join("keys");
        fs::write(&file, &text).expect("a temporary file must be writable");
        let issuer = "https://issuer.test".parse().expect("the URL is valid");
        let keys = TokenKeys::none()
            .from_issuer(issuer, None)
            .kept_in(&file, "prod");
        drop(
            Agent::builder(SdkEksAuth::new("prod"))
                .token_keys(keys)
                .build(),
        );
    })
}
