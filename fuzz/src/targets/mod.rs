//! What is fuzzed, a file each.

mod admission;
mod canned;
mod command_line;
mod credentials;
mod duration;
mod eks_auth;
mod endpoint;
mod host;
mod key_set;
mod request;
mod scenario;
mod timestamp;
mod token;
mod trust_policy;

use std::future::Future;

pub use credentials::{URI, URI_VALUE};

/// A property of any input.
#[derive(Debug)]
pub struct Target {
    /// Its corpus has this name.
    pub name: &'static str,
    /// How many mutations `cargo test` tries: about two seconds of them.
    pub cases: u64,
    /// What its format consists of.
    pub words: &'static [&'static str],
    /// Starts what the property needs, such as an agent.
    pub check: fn() -> Check,
}

/// Panics if the property does not hold.
pub type Check = Box<dyn FnMut(&[u8])>;

/// All of them, by name.
pub static TARGETS: [Target; 13] = [
    admission::TARGET,
    command_line::TARGET,
    credentials::TARGET,
    duration::TARGET,
    eks_auth::TARGET,
    endpoint::TARGET,
    host::TARGET,
    key_set::TARGET,
    request::TARGET,
    scenario::TARGET,
    timestamp::TARGET,
    token::TARGET,
    trust_policy::TARGET,
];

/// Calls `check` for inputs that are UTF-8.
fn of_text(check: fn(&str)) -> Check {
    Box::new(move |input| {
        if let Ok(text) = str::from_utf8(input) {
            check(text);
        }
    })
}

/// Runs a future on a runtime whose pauses take no time.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime without threads must start")
        .block_on(future)
}

/// Short texts occur by chance.
fn is_secret(text: &str) -> bool {
    text.len() >= 16
}
