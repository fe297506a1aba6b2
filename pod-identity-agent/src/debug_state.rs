use std::sync::Arc;

use pod_identity_core::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::credentials::cache::CredentialCache;
use crate::eks_auth::upstream::Upstream;
use crate::serve::connections::Connections;
use crate::telemetry::log_level::LogLevel;
use crate::telemetry::readiness::Readiness;
use crate::tokens::key_ring::KeyRing;

/// What an agent is told so that people can look into it while it runs.
#[derive(Debug, Clone)]
pub(crate) struct DebugSettings {
    pub(crate) log_level: LogLevel,
    /// The flags that the agent runs with, without secrets.
    pub(crate) flags: Value,
}

/// The whole state of an agent, for people. The rooms that know the parts see to it that none holds a secret.
pub(crate) struct DebugState {
    pub(crate) settings: DebugSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Timestamp,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) cache: Arc<CredentialCache>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) upstream: Arc<Upstream>,
}

impl DebugState {
    pub(crate) fn read(&self) -> Value {
        let report = self.readiness.report();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "time": self.clock.now().to_string(),
            "started": self.started.to_string(),
            "flags": self.settings.flags,
            "log-level": self.settings.log_level.get().to_string(),
            "readiness": {
                "ready": report.ready,
                "message": report.message,
                "blockers": self.readiness.blockers(),
            },
            "connections": { "open": self.connections.open(), "limit": self.connections.limit() },
            "eks-auth": {
                "reachable": !self.upstream.reachability.is_unreachable(),
                "reached-once": self.upstream.reachability.was_reached(),
                "clock-skew-seconds": self.upstream.eks_auth.clock_skew_seconds(),
            },
            "keys": self.keys.details(),
            "credentials": self.cache.details(),
        })
    }
}
