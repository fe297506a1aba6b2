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

/// An update of an add-on. Assumed: it is over at once, so that nothing has to wait.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Update {
    id: String,
    status: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    params: [(); 0],
    #[serde(with = "epoch_seconds")]
    created_at: Timestamp,
    errors: [(); 0],
}

impl Update {
    pub(crate) fn done(id: String, now: Timestamp) -> Self {
        Self {
            id,
            status: "Successful",
            kind: "AddonUpdate",
            params: [],
            created_at: now,
            errors: [],
        }
    }
}

/// The add-ons of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Addons {
    by_name: Mutex<BTreeMap<String, Addon>>,
    /// Each with the name of its add-on, in their order.
    updates: Mutex<Vec<(String, Update)>>,
}

impl Addons {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Addon>> {
        lock(&self.by_name)
    }

    pub(crate) fn add_update(&self, addon: &str, update: Update) {
        lock(&self.updates).push((addon.to_owned(), update));
    }

    pub(crate) fn update(&self, id: &str) -> Option<Update> {
        let updates = lock(&self.updates);
        let found = updates.iter().find(|(_, update)| update.id == id);
        found.map(|(_, update)| update.clone())
    }

    /// Returns the ids of the updates of one add-on; without a name none, as updates of the cluster itself.
    pub(crate) fn update_ids(&self, addon: Option<&str>) -> Vec<String> {
        let updates = lock(&self.updates);
        let of_addon = updates
            .iter()
            .filter(|(name, _)| Some(name.as_str()) == addon);
        of_addon.map(|(_, update)| update.id.clone()).collect()
    }
}
