//! The mock of a cluster's API server, as far as a node agent uses it.

pub(crate) mod blocking;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod faults;
pub(crate) mod field_selector;
pub(crate) mod mock_api_server;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod pods;
pub(crate) mod representation;
pub(crate) mod request;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod status;
