//! The mock of the node agent.

pub(crate) mod blocking;
pub(crate) mod body;
pub(crate) mod builder;
pub(crate) mod credential_source;
pub(crate) mod expectation;
pub(crate) mod mock_agent;
pub(crate) mod mode;
pub(crate) mod official;
mod refused;
pub(crate) mod request;
pub(crate) mod service;
pub(crate) mod token_policy;
