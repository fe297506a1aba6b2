use std::collections::BTreeMap;

use pod_identity_core::{Timestamp, epoch_seconds};
use serde::{Deserialize, Serialize};

use crate::eks::associations::associated::Associated;
use crate::{ApiError, ApiErrorCode, Association};

/// The body of `CreatePodIdentityAssociation`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateRequest {
    pub(crate) namespace: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) role_arn: Option<String>,
    pub(crate) client_request_token: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) disable_session_tags: Option<bool>,
    pub(crate) target_role_arn: Option<String>,
    pub(crate) policy: Option<String>,
}

/// The body of `UpdatePodIdentityAssociation`: an absent member is unchanged, and an empty
/// target role or policy is removed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateRequest {
    pub(crate) role_arn: Option<String>,
    pub(crate) client_request_token: Option<String>,
    disable_session_tags: Option<bool>,
    target_role_arn: Option<String>,
    policy: Option<String>,
}

/// The body of `TagResource`, and that of `ListTagsForResource`'s answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tags {
    pub(crate) tags: BTreeMap<String, String>,
}

impl CreateRequest {
    pub(crate) fn association(&self) -> Result<Association, ApiError> {
        let mut association = Association::new(
            required("namespace", self.namespace.as_deref())?,
            required("serviceAccount", self.service_account.as_deref())?,
            required("roleArn", self.role_arn.as_deref())?,
        );
        association.tags.clone_from(&self.tags);
        association.disable_session_tags = self.disable_session_tags.unwrap_or(false);
        association.target_role_arn = given(self.target_role_arn.as_deref());
        association.policy = given(self.policy.as_deref());
        Ok(association)
    }
}

impl UpdateRequest {
    /// Returns whether the update changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.role_arn.is_none()
            && self.disable_session_tags.is_none()
            && self.target_role_arn.is_none()
            && self.policy.is_none()
    }

    pub(crate) fn apply(&self, association: &mut Association) {
        if let Some(role_arn) = &self.role_arn {
            association.role_arn.clone_from(role_arn);
        }
        if let Some(disable) = self.disable_session_tags {
            association.disable_session_tags = disable;
        }
        if let Some(target) = self.target_role_arn.as_deref() {
            association.target_role_arn = given(Some(target));
        }
        if let Some(policy) = self.policy.as_deref() {
            association.policy = given(Some(policy));
        }
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        ApiErrorCode::InvalidParameter.because(format!("The parameter {name} is required."))
    })
}

fn given(value: Option<&str>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

/// `{"association":…}`.
#[derive(Debug, Serialize)]
pub(crate) struct Described<'a> {
    association: Description<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    role_arn: &'a str,
    tags: &'a BTreeMap<String, String>,
    #[serde(with = "epoch_seconds")]
    created_at: Timestamp,
    #[serde(with = "epoch_seconds")]
    modified_at: Timestamp,
    disable_session_tags: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_role_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
}

/// An association in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary<'a> {
    cluster_name: &'a str,
    namespace: &'a str,
    service_account: &'a str,
    association_arn: String,
    association_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_arn: Option<&'a str>,
}

/// `{"associations":[…],"nextToken":…}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed<'a> {
    pub(crate) associations: Vec<Summary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

impl<'a> Described<'a> {
    pub(crate) fn new(
        summary: Summary<'a>,
        associated: &'a Associated,
        external_id: Option<String>,
    ) -> Self {
        let association = &associated.association;
        Self {
            association: Description {
                summary,
                role_arn: &association.role_arn,
                tags: &association.tags,
                created_at: associated.created_at,
                modified_at: associated.modified_at,
                disable_session_tags: association.disable_session_tags,
                target_role_arn: association.target_role_arn.as_deref(),
                external_id,
                policy: association.policy.as_deref(),
            },
        }
    }
}

impl<'a> Summary<'a> {
    pub(crate) fn new(
        cluster_name: &'a str,
        association_arn: String,
        associated: &'a Associated,
    ) -> Self {
        let association = &associated.association;
        Self {
            cluster_name,
            namespace: &association.namespace,
            service_account: &association.service_account,
            association_arn,
            association_id: &associated.id,
            owner_arn: association.owner_arn.as_deref(),
        }
    }
}
