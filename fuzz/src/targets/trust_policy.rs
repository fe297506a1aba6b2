use pod_identity_testkit::Role;

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "trust_policy",
    cases: 20_000,
    words: &[
        "\"Statement\":",
        "\"Effect\":",
        "\"Allow\"",
        "\"Deny\"",
        "\"Principal\":",
        "\"Service\":",
        "\"AWS\":",
        "\"Action\":",
        "\"Condition\":",
        "\"StringLike\":",
        "\"ForAllValues:StringEquals\":",
        "\"Null\":",
        "\"ArnLike\":",
        "\"*\"",
    ],
    check: || of_text(check),
};

/// A policy is read, or refused in one line. What is read is JSON with statements whose effect is known.
fn check(text: &str) {
    match Role::new("arn:aws:iam::111122223333:role/cart").trust_policy(text) {
        Ok(_role) => {
            // Halves of surrogates are only found where they are read.
            let Ok(policy) = serde_json::from_str::<serde_json::Value>(text) else {
                return;
            };
            let statements = match &policy["Statement"] {
                serde_json::Value::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            for statement in statements {
                let effect = &statement["Effect"];
                assert!(effect == "Allow" || effect == "Deny", "{effect}");
            }
        }
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}
