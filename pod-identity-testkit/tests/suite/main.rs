//! The testkit, used as a test would use it: over sockets and files.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod agent_bodies;
#[cfg(test)]
mod agent_contract;
#[cfg(test)]
mod agent_life;
#[cfg(test)]
mod agent_official;
#[cfg(test)]
mod agent_rules;
#[cfg(test)]
mod agent_tokens;
#[cfg(test)]
mod agent_wire;
#[cfg(feature = "api-server")]
#[cfg(test)]
mod api_server;
#[cfg(test)]
mod associations;
#[cfg(test)]
mod assume_role;
#[cfg(test)]
mod bad_writers;
#[cfg(test)]
mod caller_identity;
#[cfg(test)]
mod common;
#[cfg(test)]
mod control_plane;
#[cfg(test)]
mod eks_wire;
#[cfg(test)]
mod false_green;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hosting;
#[cfg(test)]
mod kubelet;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod misplaced_tokens;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod other_services;
#[cfg(test)]
mod plane_faults;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod record_limit;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod scenario_faults;
#[cfg(test)]
mod scenario_files;
#[cfg(test)]
mod scenario_timeline;
#[cfg(test)]
mod scenario_when;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod signing;
#[cfg(any(feature = "api-server", feature = "webhook"))]
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod webhook_chain;
#[cfg(test)]
mod webhook_containers;
#[cfg(feature = "webhook")]
#[cfg(test)]
mod webhook_faults;
#[cfg(test)]
mod webhook_pod;
#[cfg(test)]
mod webhook_rules;
#[cfg(feature = "webhook")]
#[cfg(test)]
mod webhook_server;
