//! The published test vectors, replayed from the folder that `POD_IDENTITY_VECTORS` names:
//! `POD_IDENTITY_VECTORS=… cargo test -p pod-identity-core --test vectors -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{
    Ask, Backoff, Credentials, Endpoint, Failure, FailureClass, RefreshPolicy, Secret, Slot,
    SlotError, Timestamp, Window,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[test]
#[ignore = "needs POD_IDENTITY_VECTORS"]
fn container_endpoints_are_accepted_and_refused_as_published() {
    #[derive(Deserialize)]
    struct Suite {
        tests: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        docs: String,
        env: HashMap<String, String>,
        result: Expected,
    }

    #[derive(Deserialize)]
    enum Expected {
        Ok(String),
        ErrorContains(String),
    }

    let suite: Suite = read("container-endpoint-tests.json");
    assert_eq!(suite.tests.len(), 11);
    for Case { docs, env, result } in suite.tests {
        match (Endpoint::from_env(|name| env.get(name).cloned()), result) {
            (Ok(Some(endpoint)), Expected::Ok(uri)) => {
                assert_eq!(endpoint.uri(), uri.as_str(), "{docs}")
            }
            (Err(error), Expected::ErrorContains(text)) => {
                assert!(error.to_string().contains(&text), "{docs}: {error}")
            }
            // "Not configured" is not an error here; the wording is another SDK's.
            (Ok(None), Expected::ErrorContains(text)) => {
                assert!(text.contains("No environment variables"), "{docs}")
            }
            (other, _) => panic!("{docs}: {other:?}"),
        }
    }
}

#[test]
#[ignore = "needs POD_IDENTITY_VECTORS"]
fn a_slot_refreshes_as_published() {
    let cases: Vec<RefreshCase> = read("credential-refresh-tests.json");
    assert_eq!(cases.len(), 24);
    for case in cases {
        println!("{}", case.documentation);
        case.replay();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshCase {
    documentation: String,
    given: Given,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Given {
    cached_credentials: Cached,
    access_key_id: Option<String>,
    refresh_backoff_seconds: Option<u64>,
    configured_advisory_window_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Cached {
    None,
    Valid,
    Advisory,
    Mandatory,
    Expired,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Step {
    GetCredentials {
        #[serde(rename = "documentation")]
        _documentation: Option<String>,
        response: Option<Response>,
        lifetime_seconds: Option<u64>,
        expected: Expected,
    },
    AdvanceTime {
        seconds: u64,
    },
    Invalidate {
        rejected_access_key_id: String,
    },
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Response {
    FreshCredentials,
    StaleCredentials,
    Error,
    NonRecoverableError,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expected {
    result: Outcome,
    source_contacted: bool,
    rate_limited: bool,
    advisory_window_seconds: Option<u64>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    CachedCredentials,
    NewCredentials,
    NoCredentialsError,
    NonRecoverableError,
}

#[derive(Debug, Clone, PartialEq)]
enum Error {
    Recoverable,
    NonRecoverable,
    Slot(SlotError),
}

impl From<SlotError> for Error {
    fn from(error: SlotError) -> Self {
        Self::Slot(error)
    }
}

impl RefreshCase {
    fn replay(self) {
        let mut slot = Slot::new(Arc::new(self.given.policy()), 7);
        let mut now = self.given.prepare(&mut slot);
        for (index, step) in self.steps.into_iter().enumerate() {
            match step {
                Step::AdvanceTime { seconds } => now = now + secs(seconds),
                Step::Invalidate {
                    rejected_access_key_id,
                } => {
                    slot.invalidate(&rejected_access_key_id);
                }
                Step::GetCredentials {
                    response,
                    lifetime_seconds,
                    expected,
                    ..
                } => {
                    let fresh = credentials(
                        &format!("NEW-{index}"),
                        now + secs(lifetime_seconds.unwrap_or(21_600)),
                    );
                    let (outcome, contacted) = get(&mut slot, now, response, fresh);
                    assert_eq!(outcome, expected.result, "step {index}");
                    assert_eq!(contacted, expected.source_contacted, "step {index}");
                    let rested =
                        !contacted && outcome == Outcome::CachedCredentials && slot.is_resting();
                    assert_eq!(rested, expected.rate_limited, "step {index}");
                    if let Some(window) = expected.advisory_window_seconds {
                        let expires = slot.held().unwrap().expiration();
                        assert_eq!(slot.due_at(), Some(expires - secs(window)), "step {index}");
                    }
                }
            }
        }
    }
}

impl Given {
    fn policy(&self) -> RefreshPolicy {
        let mut policy = RefreshPolicy::cross_sdk();
        if let Some(rest) = self.refresh_backoff_seconds {
            policy = policy.with_rest(Backoff::new(secs(rest), secs(rest)));
        }
        if let Some(window) = self.configured_advisory_window_seconds {
            policy = policy.with_window(Window::Fixed(secs(window)));
        }
        policy
    }

    /// Fills the slot, and lets it age into the state that is given; the time when it is reached.
    fn prepare(&self, slot: &mut Slot<Credentials, Error>) -> Timestamp {
        let lifetime = secs(21_600);
        let age = match self.cached_credentials {
            Cached::None => return START,
            Cached::Valid => Duration::ZERO,
            Cached::Advisory => lifetime - secs(30 * 60),
            Cached::Mandatory => lifetime - secs(30),
            Cached::Expired => lifetime + secs(1),
        };
        let key = self.access_key_id.as_deref().unwrap_or("CACHED");
        let held = credentials(key, START + lifetime);
        assert_eq!(
            get(slot, START, Some(Response::FreshCredentials), held),
            (Outcome::NewCredentials, true)
        );
        START + age
    }
}

/// One `getCredentials`: what it returned, and whether the source was contacted.
fn get(
    slot: &mut Slot<Credentials, Error>,
    now: Timestamp,
    response: Option<Response>,
    fresh: Credentials,
) -> (Outcome, bool) {
    let key = fresh.access_key_id().to_owned();
    let outcome_of = |credentials: &Credentials| match credentials.access_key_id() == key {
        true => Outcome::NewCredentials,
        false => Outcome::CachedCredentials,
    };
    let ticket = match slot.ask(now) {
        Ask::Ready(credentials) => return (outcome_of(credentials), false),
        Ask::Pending(ticket) => ticket,
    };
    let mut contacted = false;
    while let Some(attempt) = slot.poll_fetch(now) {
        contacted = true;
        let result = match response.expect("the source must not be contacted without a response") {
            Response::FreshCredentials => Ok(fresh.clone()),
            Response::StaleCredentials => Ok(credentials("STALE", now)),
            Response::Error => Err(Failure::new(FailureClass::Transient, Error::Recoverable)),
            Response::NonRecoverableError => {
                Err(Failure::new(FailureClass::Denied, Error::NonRecoverable))
            }
        };
        slot.handle_fetched(attempt, now, result);
    }
    let outcome = match slot
        .outcome(ticket)
        .expect("an answered attempt must settle")
    {
        Ok(credentials) => outcome_of(credentials),
        Err(Error::NonRecoverable) => Outcome::NonRecoverableError,
        Err(_) => Outcome::NoCredentialsError,
    };
    (outcome, contacted)
}

fn credentials(access_key_id: &str, expiration: Timestamp) -> Credentials {
    let secret = || Secret::from("…".to_owned());
    Credentials::new(access_key_id, secret(), secret(), expiration)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the folder is handed in from outside"
)]
fn read<T: DeserializeOwned>(name: &str) -> T {
    let folder = std::env::var_os("POD_IDENTITY_VECTORS")
        .expect("POD_IDENTITY_VECTORS must name the folder");
    let text = std::fs::read_to_string(PathBuf::from(folder).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
