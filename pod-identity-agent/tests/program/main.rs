//! The program as a process: its command line, its surroundings, its end.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_os = "linux")]
mod answers;
#[cfg(target_os = "linux")]
mod audit;
#[cfg(unix)]
mod command_line;
#[cfg(unix)]
mod debug;
#[cfg(all(unix, feature = "dev"))]
mod dev;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod doctor_node;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(target_os = "linux")]
mod initialize;
#[cfg(unix)]
mod kubernetes;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod memory;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod outside;
#[cfg(unix)]
mod own_credentials;
#[cfg(unix)]
mod readiness;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod secrets;
#[cfg(unix)]
mod server;
#[cfg(target_os = "linux")]
mod surroundings;
#[cfg(unix)]
mod unread_log;
#[cfg(target_os = "linux")]
mod upgrades;
#[cfg(unix)]
mod verified;
