//! The shared parts of the agent's tests: a client that sees every byte, an agent in this process, and the
//! program as a process.
#![allow(dead_code, reason = "every test file uses another part of it")]

pub(crate) mod client;
pub(crate) mod log;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
pub(crate) mod metadata;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;
#[cfg(unix)]
pub(crate) mod outside;
#[cfg(unix)]
pub(crate) mod process;
#[cfg(unix)]
mod rest;
#[cfg(unix)]
pub(crate) mod scene;
#[cfg(unix)]
pub(crate) mod settings;
pub(crate) mod shop;
pub(crate) mod wall;

use std::net::IpAddr;
use std::time::Duration;

use pod_identity_core::Timestamp;

/// The time of a test, unless it needs the real one.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/teams/cart";

/// Fails a test that would otherwise hang. No test waits for it to pass.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("it must happen soon")
}

/// Generous, because the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Returns the address of a pod: on Linux, every address of 127.0.0.0/8 is loopback.
pub(crate) fn pod(number: usize) -> IpAddr {
    let octet = |number: usize| u8::try_from(number).expect("there must not be so many pods");
    IpAddr::from([127, 0, 1 + octet(number / 250), 1 + octet(number % 250)])
}
