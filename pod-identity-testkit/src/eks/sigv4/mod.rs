//! Signatures of requests to AWS.

pub(crate) mod check;
pub(crate) mod signature;
