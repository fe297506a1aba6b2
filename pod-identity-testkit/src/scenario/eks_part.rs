use std::collections::BTreeMap;

use pod_identity_core::Secret;
use serde::{Deserialize, Deserializer};

use super::order::Order;
use super::span::Span;
use super::table;
use crate::http::gates::Gates;
use crate::{Association, Fault, Role, SignatureCheck, TrustPolicyError, Visibility};

/// `[eks]`: the AWS side of the cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EksPart {
    pub(crate) cluster: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) signatures: Option<SignatureCheck>,
    pub(crate) node_keys: BTreeMap<String, Secret>,
    pub(super) visibility: Visible,
    pub(crate) throttle: Throttles,
    pub(super) roles: Vec<RolePart>,
    pub(super) associations: Vec<AssociationPart>,
    pub(super) faults: Vec<Order<Fault>>,
}

impl EksPart {
    pub(crate) fn visibility(&self, gates: &Gates) -> Visibility {
        match &self.visibility {
            Visible::AtOnce => Visibility::AtOnce,
            Visible::After(time) => Visibility::After(time.0),
            Visible::Gate(name) => Visibility::Gate(gates.named(name)),
        }
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = Role> {
        self.roles.iter().map(|part| part.0.clone())
    }

    pub(crate) fn associations(&self) -> impl Iterator<Item = Association> {
        self.associations.iter().map(|part| part.0.clone())
    }
}

/// A [`Visibility`], with the name of its gate.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Visible {
    #[default]
    AtOnce,
    After(Span),
    Gate(String),
}

/// How many requests EKS Auth answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Throttles {
    pub(crate) cluster: Option<Rate>,
    pub(crate) node: Option<Rate>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

#[derive(Debug)]
pub(super) struct RolePart(Role);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleWords {
    arn: String,
    trust_policy: Option<String>,
}

impl<'de> Deserialize<'de> for RolePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<RoleWords, _, _>(deserializer)
    }
}

impl TryFrom<RoleWords> for RolePart {
    type Error = PartError;

    fn try_from(words: RoleWords) -> Result<Self, PartError> {
        let role = Role::new(role_arn("arn", words.arn)?);
        Ok(Self(match words.trust_policy {
            Some(json) => role.trust_policy(&json)?,
            None => role,
        }))
    }
}

#[derive(Debug)]
pub(super) struct AssociationPart(Association);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssociationWords {
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
    credential_lifetime: Option<Span>,
}

impl<'de> Deserialize<'de> for AssociationPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<AssociationWords, _, _>(deserializer)
    }
}

impl TryFrom<AssociationWords> for AssociationPart {
    type Error = PartError;

    fn try_from(words: AssociationWords) -> Result<Self, PartError> {
        let role = role_arn("role_arn", words.role_arn)?;
        let mut association = Association::new(words.namespace, words.service_account, role);
        if let Some(arn) = words.target_role_arn {
            association = association.target_role_arn(role_arn("target_role_arn", arn)?);
        }
        if words.disable_session_tags {
            association = association.disable_session_tags();
        }
        if let Some(json) = words.policy {
            association = association.policy(json);
        }
        for (key, value) in words.tags {
            association = association.tag(key, value);
        }
        if let Some(arn) = words.owner_arn {
            association = association.owner_arn(arn);
        }
        if let Some(time) = words.credential_lifetime {
            association = association.lifetime(time.0);
        }
        Ok(Self(association))
    }
}

/// What is wrong with a role or an association.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error(
        "{0} is no ARN of a role: {1}; expected one such as arn:aws:iam::111122223333:role/cart"
    )]
    Arn(&'static str, String),
    #[error(transparent)]
    TrustPolicy(#[from] TrustPolicyError),
}

fn role_arn(member: &'static str, arn: String) -> Result<String, PartError> {
    if arn.starts_with("arn:") && arn.contains(":role/") {
        Ok(arn)
    } else {
        Err(PartError::Arn(member, arn))
    }
}
