//! Mocks and fixtures for what speaks Amazon EKS Pod Identity, in the process of the test.
//!
//! [`MockAgent`] is the node agent that a pod asks for credentials: it has the official one's words, a
//! pod's projected token, faults down to the single byte, and expectations that are verified at the end.
//! [`MockEksAuth`] is the service that the node agent calls: it verifies tokens, knows associations,
//! mints credentials, fails on demand and records what it saw. [`Issuer`] mints projected
//! service-account tokens, [`ProjectedVolume`] projects and rotates them as kubelet does (or spoils
//! them as others do), and [`SettableClock`] is the time of all of them.
//!
//! It is not a security boundary and nothing for production: its signing key is published, its
//! credentials are accepted by nobody, SigV4 signatures are not verified, and what it records is
//! never forgotten.
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
mod association;
mod blocking;
mod clock;
mod cluster;
mod connection;
mod credential_source;
mod delivery;
mod eks_auth;
mod eks_auth_service;
mod expectation;
mod fault;
mod faults;
mod gate;
mod gzip;
mod hosts;
mod ids;
mod issuer;
mod layout;
mod limiter;
mod mock_agent;
mod mock_agent_builder;
mod plan;
mod played;
mod pod_token;
mod recorder;
mod refusal;
mod request_head;
mod secrets;
mod server;
mod service_error;
mod signing_key;
mod spoilt;
mod success_body;
mod sync;
mod token_builder;
mod token_defect;
mod token_policy;
mod volume;
mod when;
mod wire;

pub use agent_fault::{AgentFault, AgentResponder};
pub use agent_request::{AgentOutcome, AgentRequest};
pub use association::Association;
pub use blocking::BlockingMockAgent;
pub use clock::SettableClock;
pub use credential_source::CredentialSource;
pub use delivery::{Ending, Stage};
pub use eks_auth::{MockEksAuth, MockEksAuthBuilder};
pub use expectation::Expectations;
pub use fault::{Fault, Responder};
pub use gate::Gate;
pub use issuer::{Issuer, VerifyError};
pub use mock_agent::MockAgent;
pub use mock_agent_builder::MockAgentBuilder;
pub use recorder::{Outcome, RecordedRequest};
pub use secrets::assert_no_secrets;
pub use service_error::ServiceError;
pub use signing_key::SigningKey;
pub use spoilt::{Defect, Field, TimeFormat};
pub use token_builder::TokenBuilder;
pub use token_defect::{InPlaceWrite, TokenDefect};
pub use token_policy::TokenPolicy;
pub use volume::ProjectedVolume;
pub use when::When;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
