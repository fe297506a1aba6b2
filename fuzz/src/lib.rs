//! Properties of any input, and mutations of inputs.
//!
//! The program `fuzz` makes a fixed number of mutations, among all tests. The one in `libfuzzer/` goes on with those
//! that reach more of the code.

#![allow(clippy::indexing_slicing, reason = "a check fails by a panic")]

mod corpus;
mod mutate;
mod targets;

pub use corpus::{keep, read_corpus};
pub use mutate::mutate;
pub use targets::{Check, TARGETS, Target, URI, URI_VALUE};
