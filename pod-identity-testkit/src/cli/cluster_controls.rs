use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use crate::eks::associations::associated::Associated;
use crate::http::gates::Gates;
use crate::mock::action::Action;
use crate::mock::mock::Mock;
use crate::scenario::eks_part::{AssociationPart, RolePart, Visible};
use crate::{MockEksAuth, Session, SigningKey, Visibility};

/// What can be done to the AWS side of a cluster from outside, with the words of scenario files.
#[derive(Debug)]
pub(super) struct ClusterControls<'a>(pub(super) &'a MockEksAuth);

/// What `/visibility` is told; an absent member stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Visibilities {
    eks_auth: Option<Visible>,
    api: Option<Visible>,
}

/// What `/issuer` is told; an absent member stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerChange {
    sign_with: Option<SigningKey>,
    #[serde(default)]
    forget_old_keys: bool,
    outage: Option<bool>,
}

impl ClusterControls<'_> {
    pub(super) fn associations(&self) -> Value {
        let service = self.0.service();
        let all = service.cluster.associations.all();
        let all: Vec<Value> = all.iter().map(association).collect();
        json!({ "associations": all })
    }

    pub(super) fn associate(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let part: AssociationPart = body::read(json)?;
        Ok(json!({ "id": self.0.add(part.0) }))
    }

    /// Returns whether there was one.
    pub(super) fn dissociate(&self, id: &str) -> bool {
        self.0.dissociate(id)
    }

    pub(super) fn clear_associations(&self) {
        for associated in self.0.service().cluster.associations.all() {
            self.0.dissociate(&associated.id);
        }
    }

    pub(super) fn roles(&self) -> Value {
        json!({ "roles": self.0.service().cluster.roles.arns() })
    }

    pub(super) fn put_role(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        let part: RolePart = body::read(json)?;
        self.0.put_role(part.0);
        Ok(())
    }

    pub(super) fn clear_roles(&self) {
        self.0.service().cluster.roles.clear();
    }

    pub(super) fn session(&self, access_key_id: &str) -> Option<Value> {
        self.0.session(access_key_id).as_ref().map(session)
    }

    pub(super) fn set_visibility(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        let change: Visibilities = body::read(json)?;
        let gates = &self.0.service().gates;
        if let Some(visible) = change.eks_auth {
            self.0.set_visibility(visibility(visible, gates));
        }
        if let Some(visible) = change.api {
            self.0.set_api_visibility(visibility(visible, gates));
        }
        Ok(())
    }

    pub(super) fn change_issuer(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        let change: IssuerChange = body::read(json)?;
        let service = self.0.service();
        let actions = [
            change.sign_with.map(Action::SignWith),
            change.forget_old_keys.then_some(Action::ForgetOldKeys),
            change.outage.map(Action::IssuerOutage),
        ];
        for action in actions.into_iter().flatten() {
            let applied = service.apply(&action, service.now());
            applied.expect("keys and outages must need no file");
        }
        Ok(())
    }
}

fn visibility(visible: Visible, gates: &Gates) -> Visibility {
    match visible {
        Visible::AtOnce => Visibility::AtOnce,
        Visible::After(time) => Visibility::After(time.0),
        Visible::Gate(name) => Visibility::Gate(gates.named(&name)),
    }
}

fn association(associated: &Associated) -> Value {
    let association = &associated.association;
    json!({
        "id": associated.id,
        "namespace": association.namespace,
        "service_account": association.service_account,
        "role_arn": association.role_arn,
        "target_role_arn": association.target_role_arn,
        "disable_session_tags": association.disable_session_tags,
        "policy": association.policy,
        "tags": association.tags,
        "owner_arn": association.owner_arn,
    })
}

fn session(session: &Session) -> Value {
    json!({
        "access_key_id": session.access_key_id,
        "role_arn": session.role_arn,
        "arn": session.arn,
        "assumed_role_id": session.assumed_role_id,
        "association_id": session.association_id,
        "expiration": session.expiration,
        "tags": session.tags,
        "policy": session.policy,
    })
}
