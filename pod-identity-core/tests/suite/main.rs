//! The slot and the cache of slots, in virtual time.
#![cfg(test)]

mod support;

#[cfg(feature = "cache")]
mod cache;
mod dependencies;
#[cfg(feature = "cache")]
mod model;
mod slot;
