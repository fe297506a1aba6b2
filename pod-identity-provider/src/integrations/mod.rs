//! The traits of other crates that a provider implements.

#[cfg(feature = "object_store_0_14")]
mod object_store;
#[cfg(feature = "reqsign_core_3")]
mod reqsign;
#[cfg(feature = "aws")]
mod sdk;
