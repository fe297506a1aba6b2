//! The node agent of Amazon EKS Pod Identity: a drop-in for the official one, also as a library.
//!
//! [`Agent`] answers `GET /v1/credentials` from a cache that EKS Auth fills; [`SdkEksAuth`] is EKS Auth
//! through the official client, behind the trait [`EksAuth`]. The binary is a page of code over them.
//!
//! EKS Auth verifies the first token of each pod, and credentials are held under the digest of exactly the
//! token that they were exchanged for. With [`TokenKeys`] the agent verifies tokens too, and all verified
//! tokens of a pod share its credentials. It is not a control plane: associations and roles are created
//! elsewhere.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `dev` | yes | the command `dev`: the agent on loopback with an embedded mock of EKS Auth; leave it out of images |

mod agent;
pub mod cli;
mod credentials;
#[cfg(unix)]
mod debug_state;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod eks_auth;
#[cfg(test)]
mod fleet;
#[cfg(all(test, interleaved))]
mod interleavings;
mod kubernetes;
mod node;
mod serve;
#[cfg(test)]
mod simulation;
mod sync;
mod telemetry;
mod tokens;
mod url;

pub use agent::{Agent, AgentBuilder};
pub use credentials::rate_limit::Budget;
pub use eks_auth::exchange::{Checking, EksAuth, EksAuthError, Exchange, Session};
pub use eks_auth::node_identity::NodeIdentity;
pub use eks_auth::sdk::SdkEksAuth;
pub use eks_auth::unavailable::{Cause, Unavailable};
pub use kubernetes::api_server::ApiServer;
pub use kubernetes::api_server_error::ApiServerUrlError;
pub use serve::listener::Listen;
pub use telemetry::audit::AuditLog;
pub use telemetry::logging;
pub use tokens::issuer_url::{IssuerUrl, IssuerUrlError};
pub use tokens::token_keys::TokenKeys;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
