use serde::Deserialize;
use toml::Spanned;

use super::expected::{self, Expected};
use super::fault_for::FaultFor;
use crate::agent::builder::default_pod;
use crate::agent::service::AgentService;
use crate::expect::expectation::Expectation;
use crate::fault::span::Length;
use crate::{AgentMode, AgentRequest, Issuer, TokenPolicy};

/// `[pod]`: whose token it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PodPart {
    pub(super) namespace: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) token_lifetime: Option<Length>,
}

impl PodPart {
    /// Namespace and service account.
    pub(super) fn identity(&self) -> (String, String) {
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
pub(super) struct AgentPart {
    pub(super) credentials: Source,
    /// Of those that are minted.
    pub(super) credential_lifetime: Option<Spanned<Length>>,
    pub(super) token_policy: Option<Policy>,
    pub(super) mode: Option<AgentMode>,
    pub(super) limited: bool,
    pub(super) faults: Vec<FaultFor<AgentService>>,
    pub(super) expectations: Vec<Spanned<Expected>>,
}

impl AgentPart {
    /// Returns what is to be true of the requests to the mock.
    pub(super) fn expectations(&self) -> Vec<Expectation<AgentRequest>> {
        expected::all(&self.expectations, Expected::of_agent)
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    #[default]
    Minted,
    Eks,
}

/// A [`TokenPolicy`] without its issuer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Policy {
    Any,
    JwtShaped,
    Current,
    CurrentOrPrevious,
    Verified,
}

impl Policy {
    pub(super) fn of_issuer(self) -> fn(&Issuer) -> TokenPolicy {
        match self {
            Self::Any => |_| TokenPolicy::Any,
            Self::JwtShaped => |_| TokenPolicy::JwtShaped,
            Self::Current => |_| TokenPolicy::Current,
            Self::CurrentOrPrevious => |_| TokenPolicy::CurrentOrPrevious,
            Self::Verified => |issuer| TokenPolicy::Verified(issuer.clone()),
        }
    }
}
