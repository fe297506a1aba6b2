//! What every mock is made of: its socket, its faults and events, and what a test holds of it.

pub(crate) mod action;
pub(crate) mod blocking;
pub(crate) mod exchange;
pub(crate) mod handle;
pub(crate) mod hosting;
pub(crate) mod methods;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
pub(crate) mod mock;
pub(crate) mod mock_server;
pub(crate) mod operation_faults;
pub(crate) mod record;
pub(crate) mod timeline;
