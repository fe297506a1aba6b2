use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use pod_identity_core::{Timestamp, epoch_seconds};
use serde::Serialize;

use crate::sync::lock;

/// An add-on of the cluster, as `DescribeAddon` has it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addon {
    pub(crate) addon_name: String,
    pub(crate) cluster_name: String,
    /// Assumed: an add-on is created at once, so that no test has to wait.
    pub(crate) status: &'static str,
    pub(crate) addon_version: String,
    pub(crate) addon_arn: String,
    #[serde(with = "epoch_seconds")]
    pub(crate) created_at: Timestamp,
    #[serde(with = "epoch_seconds")]
    pub(crate) modified_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) configuration_values: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The ARNs of its associations.
    pub(crate) pod_identity_associations: Vec<String>,
    pub(crate) health: Health,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Health {
    issues: [(); 0],
}

/// The add-ons of a cluster, by their names.
#[derive(Debug, Default)]
pub(crate) struct Addons(Mutex<BTreeMap<String, Addon>>);

impl Addons {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Addon>> {
        lock(&self.0)
    }
}
