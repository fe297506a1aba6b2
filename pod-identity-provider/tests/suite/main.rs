//! The provider over real sockets, beside the SDK and in virtual time.
#![cfg(test)]

mod support;

mod faults;
mod log;
#[cfg(feature = "object_store")]
mod object_store;
mod refresh;
#[cfg(feature = "reqsign")]
mod reqsign;
mod rules;
mod runtimes;
#[cfg(feature = "aws")]
mod sdk;
#[cfg(feature = "aws")]
mod sdk_cache;
mod simulation;
#[cfg(feature = "rustls")]
mod tls;
