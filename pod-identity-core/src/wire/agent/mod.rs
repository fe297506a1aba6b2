//! `GET /v1/credentials`: the answers that a node agent writes and a client reads.
//!
//! | answer | written by the agent | read by the client |
//! |---|---|---|
//! | credentials | [`encode`] | [`decode`] |
//! | an error | [`Refusal`] | [`ErrorResponse`] |
//!
//! [`AllowedHosts`] is the agent's check of the `Host` header.

mod allowed_hosts;
mod error_response;
mod members;
mod refusal;
mod success;

pub use allowed_hosts::AllowedHosts;
pub use error_response::ErrorResponse;
pub use refusal::Refusal;
pub use success::{DecodeError, decode, encode};

/// The path of the agent's credentials.
pub const PATH: &str = "/v1/credentials";
