//! What the agent answers, in process and mostly in virtual time. With `POD_IDENTITY_LIBFAKETIME` set the same
//! scenes are played on the built program; see `just rows`.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

#[cfg(unix)]
mod budgets;
mod contract;
#[cfg(unix)]
mod fetching;
#[cfg(unix)]
mod half_closed;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(unix)]
mod pods;
#[cfg(target_os = "linux")]
mod refresh;
#[cfg(target_os = "linux")]
mod restart;
#[cfg(unix)]
mod trouble;
#[cfg(target_os = "linux")]
mod untrusted;
#[cfg(unix)]
mod verified;
#[cfg(unix)]
mod whole_chain;
