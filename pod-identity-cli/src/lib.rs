//! What the programs `pod-identity-agent` and `pod-identity-testkit` share, so that they behave alike.
//!
//! [`parse`] reads a command line and reports usage errors on one line. [`Signals`] are the signals that
//! stop a program. [`parse_duration`] defines the syntax of every duration flag. [`Environment`] is what an
//! AWS SDK must see, and must not see, to get its credentials from the agent. [`Failure`] is an error with
//! an exit code.
//!
//! It is not a framework for other programs: no logging, no runtime, no configuration files.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `child` | no | [`run`]: a child process whose exit code becomes that of the program |

#[cfg(feature = "child")]
mod child;
mod duration;
mod environment;
mod failure;
mod signals;
mod usage;
mod variable;

#[cfg(feature = "child")]
pub use child::run;
pub use duration::{DurationError, parse_duration, parse_duration_within, parse_lifetime};
pub use environment::{Environment, no_proxy};
pub use failure::Failure;
pub use signals::Signals;
pub use usage::{parse, usage_error, without_user_info};
pub use variable::variable;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
