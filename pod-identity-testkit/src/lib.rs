//! Mocks and fixtures for software that uses Amazon EKS Pod Identity. They run in the process of the test.
//!
//! [`MockAgent`] is the node agent from which a pod gets credentials. It answers with the texts of the official
//! agent, has a pod's projected token, injects faults down to the single byte, and verifies expectations at the
//! end. [`MockEksAuth`] is the service that the node agent calls, with the control plane around it: EKS Auth, the
//! associations API, roles with trust policies and `GetCallerIdentity` on one endpoint, which the AWS CLI and
//! boto3 use unchanged. It fails on demand and records requests. [`Issuer`] mints projected service-account
//! tokens, [`ProjectedVolume`] writes them as kubelet does, or with a defect, [`PodToken`] refreshes them when
//! kubelet does, and [`SettableClock`] is the clock of all of them. [`mutate_pod`] returns the patch of the
//! cluster's webhook for a pod, and [`PodContainer`] the environment of a container of the patched pod.
//!
//! It is no security boundary and not for production: its signing key is published, no other service accepts its
//! credentials, it verifies SigV4 signatures only if a test enables that ([`SignatureCheck`]), and it keeps all
//! that it records unless a test sets a [limit](MockAgentBuilder::record_limit).
//!
//! # Example: a role that trusts the wrong cluster
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_testkit::{MockEksAuth, Role};
//!
//! let role = "arn:aws:iam::111122223333:role/cart";
//! let eks = MockEksAuth::start().await;
//! eks.put_role(Role::new(role).trust_policy(
//!     r#"{"Statement": [{
//!         "Effect": "Allow",
//!         "Principal": {"Service": "pods.eks.amazonaws.com"},
//!         "Action": ["sts:AssumeRole", "sts:TagSession"],
//!         "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:eks:*:111122223333:cluster/prod-*"}}
//!     }]}"#,
//! )?);
//! eks.associate("shop", "cart", role);
//! // … the code under test now gets AccessDeniedException, until the test corrects the role …
//! eks.put_role(Role::new(role));
//! // … and its session can be read back with its tags: `eks.session(access_key_id)`.
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `api-server` | no | `MockApiServer`, the API server of a cluster: keys, version, pods with watches, nodes |
//! | `webhook` | no | `MockWebhook`, the webhook as the API server calls it, over rustls with `aws-lc-rs` |
//! | `program` | no | the program `pod-identity-testkit`, for tests in other languages, and its module `cli` |
//! | `assume-role` | no | `program`, and its flag `eks --assume-role`: credentials of a real account by STS |
//!
//! # Example: an application whose agent fails and whose token is rotated
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_testkit::{Fault, MockAgent, Stage};
//!
//! let agent = MockAgent::start().await;
//! agent.expect().at_most(3).single_flight().token_reread();
//! agent.inject(Fault::reset(Stage::InHeaders));
//! // … run the code under test with `agent.lookup()`, `agent.env()` or `agent.apply_to(&mut command)` …
//! agent.rotate();
//! // … and run it again …
//! agent.assert_no_secrets("what it has logged");
//! # Ok(())
//! # }
//! ```
//!
//! # Example: a pod's token, an association, and a service that throttles once
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_testkit::{Clock, ErrorCode, MockEksAuth, ProjectedVolume, SystemClock};
//!
//! let eks = MockEksAuth::start().await;
//! eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
//! eks.inject(ErrorCode::Throttling);
//!
//! let volume = ProjectedVolume::new()?;
//! volume.write(eks.issuer().token("shop", "cart").mint(SystemClock.now()))?;
//! // … run what is tested with `eks.endpoint()` and `volume.token_path()` …
//! eks.assert_no_secrets("what it has logged");
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    not(feature = "assume-role"),
    allow(dead_code, reason = "the program uses it")
)]

mod agent;
#[cfg(feature = "api-server")]
mod api_server;
#[cfg(feature = "program")]
pub mod cli;
mod eks;
mod expect;
mod fault;
mod http;
mod mock;
mod record;
mod scenario;
mod sync;
mod token;
mod webhook;

pub use self::http::gate::Gate;
pub use self::http::outcome::Outcome;
pub use self::http::stage::{Ending, Stage};
pub use self::mock::blocking::Blocking;
pub use agent::blocking::BlockingMockAgent;
pub use agent::builder::MockAgentBuilder;
pub use agent::credential_source::CredentialSource;
pub use agent::mock_agent::MockAgent;
pub use agent::mode::AgentMode;
pub use agent::request::AgentRequest;
pub use agent::token_policy::TokenPolicy;
#[cfg(feature = "api-server")]
pub use api_server::blocking::BlockingMockApiServer;
#[cfg(feature = "api-server")]
pub use api_server::builder::MockApiServerBuilder;
#[cfg(feature = "api-server")]
pub use api_server::mock_api_server::MockApiServer;
#[cfg(feature = "api-server")]
pub use api_server::request::ApiServerRequest;
pub use eks::api_error::{ApiError, ApiErrorCode};
pub use eks::associations::association::Association;
pub use eks::associations::visibility::Visibility;
pub use eks::blocking::BlockingMockEksAuth;
pub use eks::builder::MockEksAuthBuilder;
pub use eks::iam::condition::TrustPolicyError;
pub use eks::iam::role::Role;
pub use eks::mock_eks_auth::MockEksAuth;
pub use eks::request::RecordedRequest;
pub use eks::service_error::ServiceError;
pub use eks::session::Session;
pub use eks::sigv4::check::{SignatureCheck, SignatureError};
pub use expect::expectations::Expectations;
pub use expect::seen::Seen;
pub use fault::fault::Fault;
pub use fault::field_defect::{Defect, Field, TimeFormat};
pub use fault::operation::Operation;
pub use mock::operation_faults::OperationFaults;
/// What the methods of mocks and fixtures take and return.
#[doc(no_inline)]
pub use pod_identity_core::{
    Clock, Credentials, Secret, SystemClock, Timestamp, TokenDigest, wire::eks_auth::ErrorCode,
};
pub use scenario::{Scenario, ScenarioError};
pub use token::builder::TokenBuilder;
pub use token::clock::SettableClock;
pub use token::defect::{InPlaceWrite, TokenDefect};
pub use token::issuer::{Issuer, VerifyError};
pub use token::key_set::KeySetError;
pub use token::keys::SigningKey;
pub use token::pod_token::PodToken;
pub use token::secrets::assert_no_secrets;
pub use token::volume::ProjectedVolume;
pub use webhook::{
    IdentitiesError, JsonPatch, MountedToken, PatchError, PodContainer, PodError, WebhookConfig,
    admit_pod, mutate_pod,
};
#[cfg(feature = "webhook")]
pub use webhook::{MockWebhook, MockWebhookBuilder, WebhookRequest};

/// Compiles the examples of the README, with the test harness: without it, what is in a `#[test]` would not
/// even be type-checked.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
