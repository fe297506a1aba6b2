//! The program `pod-identity-testkit` as a process, and its clients in other languages.
#![cfg(all(feature = "program", unix))]

#[cfg(test)]
mod admin;
#[cfg(test)]
mod agent;
#[cfg(test)]
#[cfg(all(feature = "api-server", feature = "webhook"))]
mod api_server;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod eks;
#[cfg(test)]
mod http;
#[cfg(test)]
mod parent;
#[cfg(test)]
mod process;
#[cfg(test)]
#[cfg(feature = "api-server")]
mod real_cluster;
#[cfg(test)]
mod run;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod token;
#[cfg(test)]
mod usage;
#[cfg(test)]
#[cfg(feature = "webhook")]
mod webhook;
