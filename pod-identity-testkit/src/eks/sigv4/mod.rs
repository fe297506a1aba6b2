//! Signatures of requests to AWS.

pub(crate) mod check;
#[cfg(test)]
mod differential;
pub(crate) mod signature;
