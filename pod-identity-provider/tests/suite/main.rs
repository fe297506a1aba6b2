//! The provider over real sockets, beside the SDK and in virtual time.
#![cfg(test)]

mod support;

mod causes;
mod faults;
mod host;
mod log;
#[cfg(feature = "object_store_0_14")]
mod object_store;
mod refresh;
#[cfg(feature = "reqsign_core_3")]
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
mod tolerance;
