use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use prometheus::{IntCounterVec, Opts, Registry, TextEncoder};

use crate::credential_cache::{Denial, Lookup};
use crate::eks_auth::EksAuthError;

/// The agent's metrics: the official agent's names, each with the meaning that its name promises.
pub(crate) struct Metrics {
    registry: Registry,
    responses: IntCounterVec,
    cache_errors: IntCounterVec,
    cache_state: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)
                .expect("a metric's name must be valid");
            registry
                .register(Box::new(counter.clone()))
                .expect("a metric's name must be registered once");
            counter
        };
        Self {
            responses: counter(
                "pod_identity_http_response",
                "Answers to credential requests, by status.",
                &["code"],
            ),
            cache_errors: counter(
                "pod_identity_cache_errors",
                "Requests for credentials that failed, by type and error code.",
                &["type", "code"],
            ),
            cache_state: counter(
                "pod_identity_cache_state",
                "Requests for credentials by whether they were at hand (hit, miss).",
                &["state"],
            ),
            registry,
        }
    }

    pub(crate) fn count_response(&self, status: StatusCode) {
        self.responses.with_label_values(&[status.as_str()]).inc();
    }

    pub(crate) fn count_lookup(&self, answered: &Result<(Bytes, Lookup), Denial>) {
        match answered {
            Ok((_, Lookup::Hit)) => self.cache_state.with_label_values(&["hit"]).inc(),
            Ok((_, Lookup::Miss)) => self.cache_state.with_label_values(&["miss"]).inc(),
            Err(denial) => {
                let (kind, code) = labels(denial);
                self.cache_errors.with_label_values(&[kind, code]).inc();
            }
        }
    }

    /// The exposition text.
    pub(crate) fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("gathered metrics must encode")
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Few values each: a code that EKS Auth does not document counts as `Other`.
fn labels(denial: &Denial) -> (&'static str, &'static str) {
    use pod_identity_core::wire::eks_auth::ErrorCode;

    let of = |error: &EksAuthError| match error {
        EksAuthError::Refused { code, .. } => (
            "eks_auth",
            ErrorCode::from_name(code).map_or("Other", ErrorCode::name),
        ),
        EksAuthError::Unreachable(_) => ("eks_auth", "Unreachable"),
        EksAuthError::Malformed(_) => ("eks_auth", "Malformed"),
        EksAuthError::Slot(_) => ("eks_auth", "Expired"),
    };
    match denial {
        Denial::Token(_) => ("token", "Malformed"),
        Denial::Claims(_) => ("token", "Claims"),
        Denial::EksAuth(error) | Denial::Late(Some(error)) => of(error),
        Denial::Late(None) => ("eks_auth", "Timeout"),
        Denial::Busy => ("agent", "Busy"),
    }
}
