//! The node agent of Amazon EKS Pod Identity: a drop-in for the official one, also as a library.
//!
//! [`Agent`] answers `GET /v1/credentials` from a cache that EKS Auth fills; [`SdkEksAuth`] is EKS Auth
//! through the official client, behind the trait [`EksAuth`]. The binary is a page of code over them.
//!
//! It is not a control plane: associations and roles are made elsewhere. It does not verify the
//! signature of a token: EKS Auth does, and the agent keeps what a token earned under the digest of
//! exactly that token.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `dev` | yes | the command `dev`: the agent on loopback with an embedded mock of EKS Auth; leave it out of images |

mod agent;
mod at_hand;
mod audit;
mod budget;
mod cache_state;
pub mod cli;
mod connections;
mod credential_cache;
mod eks_auth;
mod entry;
mod go_duration;
mod header_deadline;
mod http_clients;
#[cfg(target_os = "linux")]
mod initialize;
mod line_writer;
mod listener;
pub mod logging;
mod metrics;
mod node_identity;
#[cfg(unix)]
mod open_files;
mod outage;
mod own_credentials;
mod probes;
mod readiness;
mod refusal_log;
mod router;
mod sdk_eks_auth;
mod server;
mod side_runtime;
mod signals;
mod upstream;
mod upstream_pace;

#[cfg(feature = "dev")]
mod dev;

pub use agent::{Agent, AgentBuilder};
pub use audit::AuditLog;
pub use budget::Budget;
pub use eks_auth::{Checking, EksAuth, EksAuthError, Exchange, Session};
pub use listener::Listen;
pub use node_identity::NodeIdentity;
pub use sdk_eks_auth::SdkEksAuth;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
