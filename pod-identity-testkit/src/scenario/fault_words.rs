use std::collections::BTreeMap;

use serde::Deserialize;

use super::span::Span;
use crate::{Defect, Field, Stage, TimeFormat};

/// A fault in words, for either mock: in a scenario, and for the admin endpoint. What the members mean
/// and which go together is in `docs/scenario.md`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultWords {
    // What is answered: at most one.
    pub(super) error: Option<String>,
    pub(super) message: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) text: Option<String>,
    pub(super) redirect: Option<String>,
    pub(super) body: Option<String>,
    pub(super) malformed: bool,
    pub(super) empty: bool,
    pub(super) html: bool,
    pub(super) close: Option<Stage>,
    pub(super) reset: Option<Stage>,

    // What is changed.
    pub(super) fields: BTreeMap<Field, Defect>,
    pub(super) without: Option<String>,
    pub(super) expires_in: Option<Span>,
    pub(super) expired_for: Option<Span>,
    pub(super) expiration: Option<TimeFormat>,
    pub(super) same_again: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) retry_after: Option<Span>,
    pub(super) byte_order_mark: bool,
    pub(super) gzip: bool,
    pub(super) oversize: bool,
    pub(super) chunked: bool,

    // How it is delivered.
    pub(super) latency: Option<Span>,
    pub(super) stall: Option<Stage>,
    pub(super) hold: Option<Stage>,
    pub(super) drip: Option<Span>,
    pub(super) refuse: Option<Span>,

    // For which requests, and when.
    pub(super) operation: Option<String>,
    pub(super) count: Option<usize>,
    pub(super) nth: Option<usize>,
    pub(super) always: bool,
    pub(super) pod: Option<String>,
    pub(super) token: Option<TokenAge>,
    pub(super) after: Option<Span>,
    pub(super) lasting: Option<Span>,
    pub(super) until: Option<String>,
}

/// A token by its age in the mock's own volume.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenAge {
    Current,
    Previous,
}

impl FaultWords {
    /// Those that answer, by the first of their members.
    pub(super) fn answers(&self) -> Vec<&'static str> {
        let status = self.status.is_some() || self.text.is_some() || self.redirect.is_some();
        named([
            ("error", self.error.is_some()),
            ("status", status),
            ("body", self.body.is_some()),
            ("malformed", self.malformed),
            ("empty", self.empty),
            ("html", self.html),
            ("close", self.close.is_some()),
            ("reset", self.reset.is_some()),
        ])
    }

    /// Those that the mock of EKS Auth does not know.
    pub(super) fn of_agent_only(&self) -> Vec<&'static str> {
        named([
            ("redirect", self.redirect.is_some()),
            ("fields", !self.fields.is_empty()),
            ("expired_for", self.expired_for.is_some()),
            ("expiration", self.expiration.is_some()),
            ("same_again", self.same_again),
            ("headers", !self.headers.is_empty()),
            ("byte_order_mark", self.byte_order_mark),
            ("gzip", self.gzip),
            ("oversize", self.oversize),
            ("chunked", self.chunked),
            ("drip", self.drip.is_some()),
            ("token", self.token.is_some()),
        ])
    }

    /// Whether there is anything that a request would meet.
    pub(super) fn is_for_requests(&self) -> bool {
        let changes = [
            self.without.is_some(),
            self.expires_in.is_some(),
            self.retry_after.is_some(),
            self.latency.is_some(),
            self.stall.is_some(),
            self.hold.is_some(),
        ];
        let of_agent = self.of_agent_only();
        !self.answers().is_empty()
            || changes.contains(&true)
            || of_agent.iter().any(|member| *member != "token")
    }
}

fn named<const N: usize>(members: [(&'static str, bool); N]) -> Vec<&'static str> {
    let there = members.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(name, _)| name).collect()
}
