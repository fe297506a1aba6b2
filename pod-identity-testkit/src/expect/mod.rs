//! Expectations of requests, which a mock verifies at the end.

pub(crate) mod expectation;
pub(crate) mod expectations;
pub(crate) mod handle;
pub(crate) mod hosting;
pub(crate) mod methods;
pub(crate) mod record;
pub(crate) mod seen;
