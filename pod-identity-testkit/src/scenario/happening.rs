use std::time::Duration;

use pod_identity_core::Timestamp;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::order::Order;
use super::span::Span;
use super::table;
use crate::scenario::timeline::{Deed, Step};
use crate::{AgentFault, Fault, SigningKey, TokenDefect};

/// `[[timeline]]`: what happens at one time.
#[derive(Debug)]
pub(super) struct Happening {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) agent_fault: Option<Order<AgentFault>>,
    pub(super) eks_fault: Option<Order<Fault>>,
    restart: Option<Which>,
    pub(super) release: Option<Spanned<String>>,
    /// What happens to whoever it concerns, each so long after `at`.
    deeds: Vec<(Duration, Deed)>,
}

/// One of the mocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    Agent,
    Eks,
}

impl Happening {
    /// What is to be done to this mock, besides the faults; to none, for a pod's token alone.
    pub(super) fn steps(&self, start: Timestamp, which: Option<Which>) -> Vec<Step> {
        let at = start + self.at;
        let restart = self.restart.filter(|meant| Some(*meant) == which);
        let restart = restart.map(|_meant| (Duration::ZERO, Deed::Restart));
        let release = self.release.as_ref().map(|gate| gate.get_ref().clone());
        let release = release.map(|gate| (Duration::ZERO, Deed::Release(gate)));
        let deeds = self.deeds.iter().cloned().chain(restart).chain(release);
        deeds
            .map(|(later, deed)| Step {
                at: at + later,
                deed,
            })
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HappeningWords {
    at: Span,
    agent_fault: Option<Order<AgentFault>>,
    eks_fault: Option<Order<Fault>>,
    sign_with: Option<SigningKey>,
    #[serde(default)]
    forget_old_keys: bool,
    issuer_outage: Option<Span>,
    #[serde(default)]
    rotate_token: bool,
    spoil_token: Option<TokenDefect>,
    restart: Option<Which>,
    release: Option<Spanned<String>>,
}

impl HappeningWords {
    fn deeds(&self) -> Vec<(Duration, Deed)> {
        let outage = self.issuer_outage.map(|time| time.0);
        let now = |deed| (Duration::ZERO, deed);
        let deeds = [
            self.sign_with.map(|key| now(Deed::SignWith(key))),
            self.forget_old_keys.then(|| now(Deed::ForgetOldKeys)),
            outage.map(|_time| now(Deed::IssuerOutage(true))),
            outage.map(|time| (time, Deed::IssuerOutage(false))),
            self.rotate_token.then(|| now(Deed::Rotate)),
            self.spoil_token.map(|defect| now(Deed::Spoil(defect))),
        ];
        deeds.into_iter().flatten().collect()
    }
}

impl<'de> Deserialize<'de> for Happening {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<HappeningWords, _, _>(deserializer)
    }
}

impl TryFrom<HappeningWords> for Happening {
    type Error = NothingHappens;

    fn try_from(words: HappeningWords) -> Result<Self, NothingHappens> {
        let deeds = words.deeds();
        let has_fault = words.agent_fault.is_some() || words.eks_fault.is_some();
        let is_empty = deeds.is_empty() && words.restart.is_none() && words.release.is_none();
        if is_empty && !has_fault {
            return Err(NothingHappens);
        }
        Ok(Self {
            at: words.at.0,
            agent_fault: words.agent_fault,
            eks_fault: words.eks_fault,
            restart: words.restart,
            release: words.release,
            deeds,
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "nothing happens here; expected agent_fault, eks_fault, sign_with, forget_old_keys, issuer_outage, \
     rotate_token, spoil_token, restart or release beside at"
)]
struct NothingHappens;
