//! EKS Auth: the trait between it and the agent, AWS's client behind the trait, and the pace of calls.

pub(crate) mod audit_entry;
pub(crate) mod clock_skew;
mod connector;
pub(crate) mod describe_cluster;
mod eks_endpoint;
pub(crate) mod exchange;
pub(crate) mod http_clients;
pub(crate) mod node_identity;
pub(crate) mod outage;
pub(crate) mod own_credentials;
pub(crate) mod pace;
pub(crate) mod reachability;
pub(crate) mod sdk;
pub(crate) mod subject;
mod trusted_roots;
pub(crate) mod unavailable;
pub(crate) mod upstream;
