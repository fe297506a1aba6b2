//! The mock of EKS Auth and of its control plane: associations, roles, STS, the issuer's documents.

pub(crate) mod addon;
pub(crate) mod api_error;
pub(crate) mod associations;
pub(crate) mod assume_role;
pub(crate) mod blocking;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod control_plane;
pub(crate) mod discovery;
pub(crate) mod faults;
pub(crate) mod iam;
pub(crate) mod mock_eks_auth;
pub(crate) mod partition;
pub(crate) mod protocol;
pub(crate) mod request;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod service_error;
pub(crate) mod session;
pub(crate) mod session_tags;
pub(crate) mod sigv4;
pub(crate) mod sts;
pub(crate) mod throttle;
