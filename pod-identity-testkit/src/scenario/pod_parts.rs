use serde::Deserialize;
use toml::Spanned;

use super::order::Order;
use super::span::Span;
use crate::agent::builder::default_pod;
use crate::{AgentFault, Issuer, TokenPolicy};

/// `[pod]`: whose token it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PodPart {
    pub(crate) namespace: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) token_lifetime: Option<Span>,
}

impl PodPart {
    /// Namespace and service account.
    pub(crate) fn identity(&self) -> (String, String) {
        let (namespace, service_account) = default_pod();
        (
            self.namespace.clone().unwrap_or(namespace),
            self.service_account.clone().unwrap_or(service_account),
        )
    }
}

/// `[agent]`: the node agent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentPart {
    pub(crate) credentials: Source,
    /// Of those that are minted.
    pub(crate) credential_lifetime: Option<Spanned<Span>>,
    pub(crate) token_policy: Option<Policy>,
    pub(crate) limited: bool,
    pub(super) faults: Vec<Order<AgentFault>>,
}

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    #[default]
    Minted,
    Eks,
}

/// A [`TokenPolicy`] without what it needs to know.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    Any,
    JwtShaped,
    Current,
    CurrentOrPrevious,
    Verified,
}

impl Policy {
    pub(crate) fn with(self, issuer: &Issuer) -> TokenPolicy {
        match self {
            Self::Any => TokenPolicy::Any,
            Self::JwtShaped => TokenPolicy::JwtShaped,
            Self::Current => TokenPolicy::Current,
            Self::CurrentOrPrevious => TokenPolicy::CurrentOrPrevious,
            Self::Verified => TokenPolicy::Verified(issuer.clone()),
        }
    }
}
