//! What belongs to the node and the process: the link with the addresses, threads, open files, memory.

pub(crate) mod addresses;
#[cfg(target_os = "linux")]
pub(crate) mod initialize;
#[cfg(target_os = "linux")]
pub(crate) mod memory_limit;
#[cfg(target_os = "linux")]
pub(crate) mod network;
#[cfg(unix)]
pub(crate) mod open_files;
#[cfg(target_os = "linux")]
pub(crate) mod problem;
pub(crate) mod resources;
#[cfg(target_os = "linux")]
pub(crate) mod watch;
