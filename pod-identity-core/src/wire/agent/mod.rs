//! `GET /v1/credentials`, in both directions: what a node agent writes and what a client reads.
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

/// The path that the agent answers on.
pub const PATH: &str = "/v1/credentials";
