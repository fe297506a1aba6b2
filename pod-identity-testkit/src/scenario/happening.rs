use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::fault_for::FaultFor;
use super::table;
use crate::agent::service::AgentService;
use crate::eks::service::EksAuthService;
use crate::fault::span::{Length, Span};
use crate::mock::action::Action;
use crate::{SigningKey, TokenDefect};

/// `[[timeline]]`: the events of one time.
#[derive(Debug)]
pub(super) struct Happening {
    /// The time since the start.
    pub(super) at: Duration,
    pub(super) agent_fault: Option<FaultFor<AgentService>>,
    pub(super) eks_fault: Option<FaultFor<EksAuthService>>,
    restart: Option<Which>,
    pub(super) release: Option<Spanned<String>>,
    /// The faults and actions of every mock, by the time after `at`.
    actions: Vec<(Duration, Action)>,
}

/// One of the mocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    Agent,
    Eks,
}

impl Happening {
    /// What happens to this mock besides its faults, by the time since the start; with `None`, to the token
    /// of a pod that has no mock agent.
    pub(super) fn actions(&self, which: Option<Which>) -> impl Iterator<Item = (Duration, Action)> {
        let restart = self.restart.filter(|meant| Some(*meant) == which);
        let restart = restart.map(|_meant| (Duration::ZERO, Action::Restart));
        let release = self.release.as_ref().map(|gate| gate.get_ref().clone());
        let release = release.map(|gate| (Duration::ZERO, Action::Release(gate)));
        let actions = self.actions.iter().cloned().chain(restart).chain(release);
        actions.map(|(later, action)| (self.at + later, action))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HappeningTable {
    at: Span,
    agent_fault: Option<FaultFor<AgentService>>,
    eks_fault: Option<FaultFor<EksAuthService>>,
    sign_with: Option<SigningKey>,
    #[serde(default)]
    forget_old_keys: bool,
    issuer_outage: Option<Length>,
    #[serde(default)]
    rotate_token: bool,
    spoil_token: Option<TokenDefect>,
    restart: Option<Which>,
    release: Option<Spanned<String>>,
}

impl HappeningTable {
    fn actions(&self) -> Vec<(Duration, Action)> {
        let outage = self.issuer_outage.map(|time| time.0);
        let now = |action| (Duration::ZERO, action);
        let actions = [
            self.sign_with.map(|key| now(Action::SignWith(key))),
            self.forget_old_keys.then(|| now(Action::ForgetOldKeys)),
            outage.map(|_time| now(Action::IssuerOutage(true))),
            outage.map(|time| (time, Action::IssuerOutage(false))),
            self.rotate_token.then(|| now(Action::Rotate)),
            self.spoil_token.map(|defect| now(Action::Spoil(defect))),
        ];
        actions.into_iter().flatten().collect()
    }
}

impl<'de> Deserialize<'de> for Happening {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<HappeningTable, _, _>(deserializer)
    }
}

impl TryFrom<HappeningTable> for Happening {
    type Error = NothingHappens;

    fn try_from(given: HappeningTable) -> Result<Self, NothingHappens> {
        let actions = given.actions();
        let has_fault = given.agent_fault.is_some() || given.eks_fault.is_some();
        let is_empty = actions.is_empty() && given.restart.is_none() && given.release.is_none();
        if is_empty && !has_fault {
            return Err(NothingHappens);
        }
        Ok(Self {
            at: given.at.0,
            agent_fault: given.agent_fault,
            eks_fault: given.eks_fault,
            restart: given.restart,
            release: given.release,
            actions,
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "nothing happens here; expected agent_fault, eks_fault, sign_with, forget_old_keys, issuer_outage, \
     rotate_token, spoil_token, restart or release beside at"
)]
struct NothingHappens;
