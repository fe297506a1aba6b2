//! What the agent does with the API server of its cluster, all of it opt-in.

pub(crate) mod api_server;
pub(crate) mod api_server_error;
pub(crate) mod gone_pods;
pub(crate) mod pod_watch;
pub(crate) mod startup_taint;
pub(crate) mod watch_event;
