//! Expectations of requests, which a mock verifies at the end.

pub(crate) mod expectation;
pub(crate) mod expectations;
pub(crate) mod seen;
