//! The testkit, used as a test would use it: over sockets and files.

#[cfg(test)]
mod assume_role;
#[cfg(test)]
mod common;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod refusals;
