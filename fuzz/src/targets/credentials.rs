use aws_config::ecs::EcsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials;
use pod_identity_core::wire::agent::{ErrorResponse, decode, encode};
use pod_identity_core::{Secret, Timestamp, variables};
use serde::de::IgnoredAny;

use super::{Target, at_once, canned, is_secret};

pub(super) const TARGET: Target = Target {
    name: "credentials",
    cases: 400,
    words: &[
        "\"AccessKeyId\":",
        "\"SecretAccessKey\":",
        "\"Token\":",
        "\"SessionToken\":",
        "\"Expiration\":",
        "\"ExpiresAt\":",
        "\"AccountId\":",
        "\"Code\":",
        "\"Success\"",
        "\"Message\":",
        "2026-03-01T12:00:00Z",
        "ASIA",
        "AKIA",
    ],
    check: || Box::new(check),
};

/// What aws-config's container provider must find in its environment.
pub const URI: &str = variables::FULL_URI;
/// What [`URI`] must be. Nobody listens there.
pub const URI_VALUE: &str = "http://127.0.0.1:1/v1/credentials";

/// What the AWS SDK for Rust accepts is accepted and means the same, unless it has no meaning; what is accepted goes
/// both ways; and no message quotes a secret.
fn check(body: &[u8]) {
    let ours = decode(body, Some(&Secret::from(SENT.to_owned())));
    let error = ErrorResponse::read(400, body, Some(&Secret::from(SENT.to_owned())));
    assert!(!error.to_string().contains(SENT));
    assert!(error.message.len() <= ErrorResponse::MAX_MESSAGE);
    if let Ok(credentials) = &ours {
        let again = decode(&encode(credentials), None).expect("what is written must be readable");
        assert_eq!(&again, credentials);
        let printed = format!("{credentials:?}");
        // What is the id of the key or the expiration, or a part of them, is printed.
        let public = [
            credentials.access_key_id().to_owned(),
            credentials.expiration().to_string(),
        ];
        let printed = public
            .iter()
            .fold(printed, |text, it| text.replacen(it, "", 1));
        for secret in [credentials.secret_access_key(), credentials.session_token()] {
            assert!(!is_secret(secret.expose()) || !printed.contains(secret.expose()));
        }
    }
    let Some(theirs) = of_the_sdk(body) else {
        return;
    };
    let key = theirs.access_key_id();
    let token = theirs.session_token().unwrap_or_default();
    // The SDK's signer panics at some of them.
    let is_no_key = |text: &str| !text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_worthless = key.is_empty()
        || theirs.secret_access_key().is_empty()
        || (token.is_empty() && key.starts_with("ASIA"))
        || [key, theirs.secret_access_key(), token]
            .into_iter()
            .any(is_no_key);
    match ours {
        Ok(ours) => {
            assert_eq!(ours.access_key_id(), key);
            assert_eq!(
                ours.secret_access_key().expose(),
                theirs.secret_access_key()
            );
            assert_eq!(ours.session_token().expose(), token);
            assert_eq!(
                Some(ours.expiration()),
                theirs.expiry().map(Timestamp::from)
            );
        }
        Err(error) => assert!(is_worthless, "the SDK accepts it: {error}"),
    }
}

/// `None` where the SDK fails, and where members are there twice: which of them counts is nowhere defined. `None` also
/// for what is not JSON: the SDK does not look into the members that it ignores.
fn of_the_sdk(body: &[u8]) -> Option<aws_credential_types::Credentials> {
    let text = str::from_utf8(body).ok()?.to_ascii_lowercase();
    let members = [
        "accesskeyid",
        "secretaccesskey",
        "token",
        "expir",
        "code",
        "accountid",
    ];
    if members
        .iter()
        .any(|member| text.matches(member).count() > 1)
        || text.contains("\\u")
        || serde_json::from_slice::<IgnoredAny>(body).is_err()
    {
        return None;
    }
    at_once(async {
        let config =
            ProviderConfig::without_region().with_http_client(canned::client(200, &[], body));
        let provider = EcsCredentialsProvider::builder().configure(&config).build();
        provider.provide_credentials().await.ok()
    })
}

const SENT: &str = "the-token-that-was-sent";
