//! Many clients at once. A binary of its own: virtual time would run ahead of a kernel that is busy with crowds.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod chaos;
#[cfg(target_os = "linux")]
mod floods;
