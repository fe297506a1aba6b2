use std::time::Duration;

use aws_sdk_eksauth::config::retry::RetryConfig;
use aws_sdk_eksauth::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eksauth::{Client, Config};
use pod_identity_agent::{EksAuth, SdkEksAuth};
use pod_identity_core::Secret;
use pod_identity_core::wire::eks_auth::{AssumeRoleRequest, AssumeRoleResponse};

use super::{Target, at_once, canned, is_secret};

pub(super) const TARGET: Target = Target {
    name: "eks_auth",
    cases: 500,
    words: &[
        "200\n",
        "400\n",
        "ThrottlingException",
        "\"credentials\":",
        "\"expiration\":",
        "\"sessionToken\":",
        "\"subject\":",
        "\"assumedRoleUser\":",
        "\"podIdentityAssociation\":",
        "\"message\":",
        "\"__type\":",
        TOKEN,
    ],
    check: || Box::new(check),
};

/// What the mock's types read, the agent reads through the AWS client, and the same; nothing quotes a secret.
///
/// The first line of an input is the status of the answer, the second the error code in its header.
fn check(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let status = line()
        .parse()
        .ok()
        .filter(|status| (200..600).contains(status))
        .unwrap_or(200);
    let code = line();
    let body = lines.next().unwrap_or_default();
    let headers = match code.is_empty() || code.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
        true => Vec::new(),
        false => vec![(CODE_HEADER, code.to_owned())],
    };
    let exchanged = at_once(async {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .credentials_provider(Credentials::new("AKIANODE", "node", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(canned::client(status, &headers, body))
            .build();
        let eks_auth = SdkEksAuth::new("prod").with_client(Client::from_conf(config));
        eks_auth.assume_role(&Secret::from(TOKEN.to_owned())).await
    });
    let expected = serde_json::from_slice::<AssumeRoleResponse>(body).ok();
    let printed = match &exchanged {
        Ok(session) => format!("{session:?}"),
        Err(failure) => format!("{failure:?}"),
    };
    // What an answer names, such as a role, is printed as EKS Auth spells it.
    let answer = serde_json::from_slice::<serde_json::Value>(body).ok();
    let names_it = exchanged.is_ok() && answer.is_some_and(|it| it.to_string().contains(TOKEN));
    assert!(names_it || !printed.contains(TOKEN), "it quotes the token");
    if let (200..=299, Some(expected)) = (status, &expected) {
        let credentials = &expected.credentials;
        let text = String::from_utf8_lossy(body);
        for secret in [&credentials.session_token, &credentials.secret_access_key] {
            // What an answer says elsewhere too is no secret.
            let is_said = text.matches(secret.expose()).count() > 1;
            assert!(
                is_said || !is_secret(secret.expose()) || !printed.contains(secret.expose()),
                "it quotes a secret"
            );
        }
        let again = serde_json::to_vec(expected).expect("a response must be writable");
        assert_eq!(
            serde_json::from_slice::<AssumeRoleResponse>(&again)
                .ok()
                .as_ref(),
            Some(expected)
        );
        if let Ok(session) = &exchanged {
            assert_eq!(
                session.credentials.access_key_id(),
                credentials.access_key_id
            );
            assert_eq!(
                session.credentials.secret_access_key(),
                &credentials.secret_access_key
            );
            assert_eq!(
                session.credentials.session_token(),
                &credentials.session_token
            );
            let (read, meant) = (session.credentials.expiration(), credentials.expiration);
            // A fraction of a second is a binary one, and cut to milliseconds.
            assert!(
                read == meant || read + MILLI == meant,
                "{read} is not {meant}"
            );
            assert_eq!(session.namespace, expected.subject.namespace);
        }
    }
    if let Ok(session) = &exchanged {
        assert!((200..300).contains(&status), "{status} is no success");
        let secrets = [
            session.credentials.secret_access_key(),
            session.credentials.session_token(),
        ];
        assert!(
            !session.credentials.access_key_id().is_empty()
                && secrets.iter().all(|it| !it.is_empty())
        );
    }
    if let Ok(request) = serde_json::from_slice::<AssumeRoleRequest>(body) {
        let again = serde_json::to_vec(&request).expect("a request must be writable");
        assert_eq!(
            serde_json::from_slice::<AssumeRoleRequest>(&again).ok(),
            Some(request)
        );
    }
}

/// `ErrorBody::CODE_HEADER`, in lower case as HTTP libraries hold names.
const CODE_HEADER: &str = "x-amzn-errortype";
const MILLI: Duration = Duration::from_millis(1);
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.the-signature-of-it";
