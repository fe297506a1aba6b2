//! Mocks and fixtures for what speaks Amazon EKS Pod Identity, in the process of the test.
//!
//! [`MockAgent`] is the node agent that a pod asks for credentials: it has the official one's words, a
//! pod's projected token, faults down to the single byte, and expectations that are verified at the end.
//! [`MockEksAuth`] is what the node agent calls, and the control plane around it: EKS Auth, the
//! associations API, roles with trust policies and `GetCallerIdentity` on one endpoint, which the AWS CLI
//! and boto3 drive unchanged. It fails on demand and records what it saw. [`Issuer`] mints projected
//! service-account tokens, [`ProjectedVolume`] projects them as kubelet does (or spoils them as others
//! do), [`PodToken`] refreshes them when kubelet does, and [`SettableClock`] is the time of all of them.
//! [`mutate_pod`] is what the cluster's webhook does to a pod, and [`PodContainer`] what a container of it
//! then finds.
//!
//! It is not a security boundary and nothing for production: its signing key is published, its
//! credentials are accepted by nobody else, SigV4 signatures are verified only where a test asks for it
//! ([`SignatureCheck`]), and what it records is never forgotten.
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
//! // … what is tested now meets AccessDeniedException, until the test corrects the role …
//! eks.put_role(Role::new(role));
//! // … and what it then gets can be read back with its session tags: `eks.session(access_key_id)`.
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `webhook` | no | `MockWebhook`, the webhook as the API server calls it, through rustls with `aws-lc-rs` |
//! | `scenario` | no | `Scenario`: mocks with their faults and what happens when, from a TOML file |
//! | `program` | no | the program `pod-identity-testkit`, for tests in other languages, and `cli`, which is all of it; implies `scenario` |
//!
//! # Example: an application whose agent fails and whose token is rotated
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_testkit::{AgentFault, MockAgent, Stage};
//!
//! let agent = MockAgent::start().await;
//! agent.expect().at_most(3).single_flight().token_reread();
//! agent.inject(AgentFault::Reset(Stage::InHeaders));
//! // … run what is tested with `agent.lookup()`, `agent.env()` or `agent.apply_to(&mut command)` …
//! agent.rotate();
//! // … and on …
//! agent.assert_no_secrets("what it has logged");
//! # Ok(())
//! # }
//! ```
//!
//! # Example: a pod's token, an association, and a service that throttles once
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_core::wire::eks_auth::ErrorCode;
//! use pod_identity_core::{Clock, SystemClock};
//! use pod_identity_testkit::{MockEksAuth, ProjectedVolume};
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

mod agent_answer;
mod agent_fault;
mod agent_request;
mod agent_service;
mod answer;
mod api_error;
mod association;
mod association_json;
mod associations;
mod associations_api;
mod blocking;
mod call;
#[cfg(feature = "program")]
pub mod cli;
mod clock;
mod cluster;
mod connection;
mod credential_source;
mod delivery;
mod discovery;
mod eks_auth;
mod eks_auth_builder;
mod eks_auth_service;
mod expectation;
mod fault;
mod faults;
mod form;
mod gate;
#[cfg(feature = "scenario")]
mod gates;
mod gzip;
mod hosts;
mod ids;
mod issuer;
mod layout;
mod limiter;
mod mock_agent;
mod mock_agent_builder;
mod operation;
mod operation_faults;
mod partition;
mod plan;
mod played;
mod pod_token;
mod recorder;
mod refusal;
mod request_head;
mod role;
mod roles;
#[cfg(feature = "scenario")]
mod scenario;
mod secrets;
mod server;
mod service_error;
mod session;
mod session_tags;
mod signature_check;
mod signing_key;
mod sigv4;
mod spoilt;
mod sts;
mod success_body;
mod sync;
mod throttle;
#[cfg(feature = "scenario")]
mod timeline;
mod token_builder;
mod token_defect;
mod token_policy;
mod trust_condition;
mod trust_policy;
mod visibility;
mod volume;
mod webhook;
mod when;
mod wildcard;
mod wire;

pub use agent_fault::{AgentFault, AgentResponder};
pub use agent_request::{AgentOutcome, AgentRequest};
pub use api_error::{ApiError, ApiErrorCode};
pub use association::Association;
pub use blocking::{Blocking, BlockingMockAgent, BlockingMockEksAuth};
pub use clock::SettableClock;
pub use credential_source::CredentialSource;
pub use delivery::{Ending, Stage};
pub use eks_auth::MockEksAuth;
pub use eks_auth_builder::MockEksAuthBuilder;
pub use expectation::Expectations;
pub use fault::{Fault, Responder};
pub use gate::Gate;
pub use issuer::{Issuer, VerifyError};
pub use mock_agent::MockAgent;
pub use mock_agent_builder::MockAgentBuilder;
pub use operation::Operation;
pub use operation_faults::OperationFaults;
pub use pod_token::PodToken;
pub use recorder::{Outcome, RecordedRequest};
pub use role::Role;
#[cfg(feature = "scenario")]
pub use scenario::{Scenario, ScenarioError};
pub use secrets::assert_no_secrets;
pub use service_error::ServiceError;
pub use session::Session;
pub use signature_check::{SignatureCheck, SignatureError};
pub use signing_key::SigningKey;
pub use spoilt::{Defect, Field, TimeFormat};
pub use token_builder::TokenBuilder;
pub use token_defect::{InPlaceWrite, TokenDefect};
pub use token_policy::TokenPolicy;
pub use trust_condition::TrustPolicyError;
pub use visibility::Visibility;
pub use volume::ProjectedVolume;
pub use webhook::{
    IdentitiesError, JsonPatch, MountedToken, PatchError, PodContainer, PodError, WebhookConfig,
    mutate_pod,
};
#[cfg(feature = "webhook")]
pub use webhook::{MockWebhook, MockWebhookBuilder};
pub use when::When;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
