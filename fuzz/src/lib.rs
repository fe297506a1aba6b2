//! Properties of any input, and mutations of inputs.
//!
//! The program `fuzz` tries a fixed number of mutations, among all tests. The one in `libfuzzer/` searches on from those
//! that reach new code.

#![allow(clippy::indexing_slicing, reason = "a check fails by a panic")]

mod corpus;
mod mutate;
mod targets;

pub use corpus::{keep, read_corpus};
pub use mutate::mutate;
pub use targets::{Check, TARGETS, Target, URI, URI_VALUE};
