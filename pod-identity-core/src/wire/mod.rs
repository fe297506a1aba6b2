//! The two wire formats, for reading and writing. Clients, the agent and the mocks share them.
//!
//! [`agent`] is `GET /v1/credentials`, between an SDK and the node agent. [`eks_auth`] is
//! `AssumeRoleForPodIdentity`, between the node agent and EKS Auth. [`plain_text`] is the form of the errors of
//! the agent and the webhook.

pub mod agent;
pub mod eks_auth;
mod plain_text;

pub use plain_text::plain_text;
