//! The two wire formats, in both directions: clients, the agent and the mocks share one definition.
//!
//! [`agent`] is `GET /v1/credentials`, between an SDK and the node agent. [`eks_auth`] is
//! `AssumeRoleForPodIdentity`, between the node agent and EKS Auth. [`plain_text`] is the form of
//! the agent's errors, and of the webhook's.

pub mod agent;
pub mod eks_auth;
mod plain_text;

pub use plain_text::plain_text;
