use std::collections::BTreeMap;

use pod_identity_core::Secret;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::expected::{self, Expected};
use super::fault_for::FaultFor;
use super::table;
use crate::eks::associations::rules::is_role_arn;
use crate::eks::builder::{DefaultVisibility, EksAuthDefaults};
use crate::eks::service::EksAuthService;
use crate::expect::expectation::Expectation;
use crate::fault::span::Length;
use crate::{Association, RecordedRequest, Role, SignatureCheck, TrustPolicyError, Visibility};

/// `[eks]`: the AWS side of the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EksPart {
    cluster: Option<String>,
    pub(super) region: Option<String>,
    account: Option<String>,
    workload_identity_provider_arn: Option<String>,
    signatures: Option<SignatureCheck>,
    node_keys: BTreeMap<String, Secret>,
    pub(super) visibility: Visible,
    throttle: Throttles,
    roles: Vec<RolePart>,
    associations: Vec<AssociationPart>,
    pub(super) faults: Vec<FaultFor<EksAuthService>>,
    pub(super) expectations: Vec<Spanned<Expected>>,
}

impl EksPart {
    pub(super) fn defaults(&self) -> EksAuthDefaults {
        let limit = |rate: Rate| (rate.per_second, rate.burst);
        EksAuthDefaults {
            cluster: self.cluster.clone(),
            region: self.region.clone(),
            account: self.account.clone(),
            workload_identity_provider_arn: self.workload_identity_provider_arn.clone(),
            visibility: Some(match &self.visibility {
                Visible::AtOnce => DefaultVisibility::Is(Visibility::AtOnce),
                Visible::After(time) => DefaultVisibility::Is(Visibility::After(time.0)),
                Visible::Gate(name) => DefaultVisibility::Gate(name.clone()),
            }),
            signatures: self.signatures,
            node_keys: self.node_keys.clone(),
            cluster_limit: self.throttle.cluster.map(limit),
            node_limit: self.throttle.node.map(limit),
            roles: self.roles.iter().map(|part| part.0.clone()).collect(),
            associations: self
                .associations
                .iter()
                .map(|part| part.0.clone())
                .collect(),
            expectations: self.expectations(),
        }
    }

    /// Returns what is to be true of the requests to the mock.
    pub(super) fn expectations(&self) -> Vec<Expectation<RecordedRequest>> {
        expected::all(&self.expectations, Expected::of_eks)
    }
}

/// A [`Visibility`], with the name of its gate.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Visible {
    #[default]
    AtOnce,
    After(Length),
    Gate(String),
}

/// The rate of requests that EKS Auth answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Throttles {
    cluster: Option<Rate>,
    node: Option<Rate>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    per_second: u32,
    burst: u32,
}

#[derive(Debug)]
pub(crate) struct RolePart(pub(crate) Role);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleTable {
    arn: String,
    trust_policy: Option<String>,
}

impl<'de> Deserialize<'de> for RolePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<RoleTable, _, _>(deserializer)
    }
}

impl TryFrom<RoleTable> for RolePart {
    type Error = PartError;

    fn try_from(given: RoleTable) -> Result<Self, PartError> {
        let role = Role::new(role_arn("arn", given.arn)?);
        Ok(Self(match given.trust_policy {
            Some(json) => role.trust_policy(&json)?,
            None => role,
        }))
    }
}

#[derive(Debug)]
pub(crate) struct AssociationPart(pub(crate) Association);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssociationTable {
    namespace: String,
    service_account: String,
    role_arn: String,
    target_role_arn: Option<String>,
    #[serde(default)]
    disable_session_tags: bool,
    policy: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    owner_arn: Option<String>,
    credential_lifetime: Option<Length>,
}

impl<'de> Deserialize<'de> for AssociationPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<AssociationTable, _, _>(deserializer)
    }
}

impl TryFrom<AssociationTable> for AssociationPart {
    type Error = PartError;

    fn try_from(given: AssociationTable) -> Result<Self, PartError> {
        let role = role_arn("role_arn", given.role_arn)?;
        let mut association = Association::new(given.namespace, given.service_account, role);
        if let Some(arn) = given.target_role_arn {
            association = association.target_role_arn(role_arn("target_role_arn", arn)?);
        }
        if given.disable_session_tags {
            association = association.disable_session_tags();
        }
        if let Some(json) = given.policy {
            association = association.policy(json);
        }
        for (key, value) in given.tags {
            association = association.tag(key, value);
        }
        if let Some(arn) = given.owner_arn {
            association = association.owner_arn(arn);
        }
        if let Some(time) = given.credential_lifetime {
            association = association.lifetime(time.0);
        }
        Ok(Self(association))
    }
}

/// The error of a role or an association.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(
        "{0} is not the ARN of a role: {1}; expected one such as arn:aws:iam::111122223333:role/cart"
    )]
    Arn(&'static str, String),
    #[error(transparent)]
    TrustPolicy(#[from] TrustPolicyError),
}

fn role_arn(member: &'static str, arn: String) -> Result<String, PartError> {
    if is_role_arn(&arn) {
        Ok(arn)
    } else {
        Err(PartError::Arn(member, arn))
    }
}
