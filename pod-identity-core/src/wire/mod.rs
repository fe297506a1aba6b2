//! The two wire formats, in both directions: clients, the agent and the mocks share one definition.
//!
//! [`agent`] is `GET /v1/credentials`, between an SDK and the node agent. [`eks_auth`] is
//! `AssumeRoleForPodIdentity`, between the node agent and EKS Auth.

pub mod agent;
pub mod eks_auth;
