use std::collections::BTreeMap;

use pod_identity_core::{JsonObject, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::eks::addon::{Addon, Health, Update};
use crate::eks::associations::json::CreateRequest;
use crate::eks::associations::rules;
use crate::eks::cluster::Cluster;
use crate::eks::control_plane::associations_api::{AssociationsApi, parsed};
use crate::eks::control_plane::clusters_api::VERSION;
use crate::eks::route::Route;
use crate::http::form::Form;
use crate::record::redaction;
use crate::token::ids;
use crate::{ApiError, ApiErrorCode, Operation};

/// The API of a cluster's add-ons, as far as pipelines call it. An add-on can have associations.
#[derive(Debug)]
pub(crate) struct AddonsApi<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) now: Timestamp,
}

/// The body of `CreateAddon`, and that of `UpdateAddon`: an absent member is unchanged.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddonRequest {
    addon_name: Option<String>,
    addon_version: Option<String>,
    service_account_role_arn: Option<String>,
    configuration_values: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    pod_identity_associations: Option<Vec<JsonObject<OwnedAssociation>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedAssociation {
    service_account: String,
    role_arn: String,
}

type Answered = Result<String, ApiError>;

impl AddonsApi<'_> {
    pub(crate) fn call(&self, route: &Route, query: &str, body: &[u8]) -> Answered {
        let name = route.resource.as_deref().unwrap_or_default();
        match route.operation {
            Operation::CreateAddon => self.create(parsed(body)?),
            Operation::ListAddons => {
                let names: Vec<String> = self.cluster.addons.lock().keys().cloned().collect();
                Ok(json!({ "addons": names }).to_string())
            }
            Operation::DescribeAddon => self.describe(name),
            Operation::UpdateAddon => self.update(name, parsed(body)?),
            Operation::DeleteAddon => self.delete(name),
            Operation::DescribeUpdate => self.describe_update(name),
            Operation::ListUpdates => Ok(self.updates(&Form::parse(query.as_bytes()))),
            Operation::DescribeAddonConfiguration => configuration(&Form::parse(query.as_bytes())),
            _ => Ok(versions(&Form::parse(query.as_bytes()))),
        }
    }

    fn create(&self, request: AddonRequest) -> Answered {
        let name = request.addon_name.as_deref().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(
                ApiErrorCode::InvalidParameter.because("The parameter addonName is required.")
            );
        }
        rules::check_tags(&request.tags)
            .map_err(|reason| ApiErrorCode::InvalidParameter.because(reason))?;
        if self.cluster.addons.lock().contains_key(&name) {
            return Err(ApiErrorCode::ResourceInUse.because("Addon already exists."));
        }
        let arn = self
            .cluster
            .addon_arn(&name, &ids::uuid(&mut fastrand::Rng::new()));
        let owned = request.pod_identity_associations.unwrap_or_default();
        let addon = Addon {
            pod_identity_associations: self.associate(&name, &arn, owned)?,
            addon_name: name.clone(),
            cluster_name: self.cluster.name.clone(),
            status: "ACTIVE",
            addon_version: request
                .addon_version
                .unwrap_or_else(|| ADDON_VERSION.to_owned()),
            addon_arn: arn,
            created_at: self.now,
            modified_at: self.now,
            service_account_role_arn: request.service_account_role_arn,
            configuration_values: request.configuration_values,
            tags: request.tags,
            health: Health::default(),
        };
        let body = json!({ "addon": addon }).to_string();
        self.cluster.addons.lock().insert(name, addon);
        Ok(body)
    }

    fn describe(&self, name: &str) -> Answered {
        let addons = self.cluster.addons.lock();
        let addon = addons.get(name).ok_or_else(|| self.unknown(name))?;
        Ok(json!({ "addon": addon }).to_string())
    }

    fn update(&self, name: &str, request: AddonRequest) -> Answered {
        let before = self.cluster.addons.lock().get(name).cloned();
        let mut addon = before.ok_or_else(|| self.unknown(name))?;
        if let Some(owned) = request.pod_identity_associations {
            self.dissociate(&addon);
            addon.pod_identity_associations = self.associate(name, &addon.addon_arn, owned)?;
        }
        if let Some(version) = request.addon_version {
            addon.addon_version = version;
        }
        if request.service_account_role_arn.is_some() {
            addon.service_account_role_arn = request.service_account_role_arn;
        }
        if request.configuration_values.is_some() {
            addon.configuration_values = request.configuration_values;
        }
        addon.modified_at = self.now;
        self.cluster.addons.lock().insert(name.to_owned(), addon);
        let update = Update::done(ids::uuid(&mut fastrand::Rng::new()), self.now);
        let body = json!({ "update": update }).to_string();
        self.cluster.addons.add_update(name, update);
        Ok(body)
    }

    fn describe_update(&self, id: &str) -> Answered {
        let update = self.cluster.addons.update(id).ok_or_else(|| {
            let message = format!("No update found for ID: {id}");
            ApiErrorCode::ResourceNotFound.because(message)
        })?;
        Ok(json!({ "update": update }).to_string())
    }

    fn updates(&self, query: &Form) -> String {
        let ids = self.cluster.addons.update_ids(query.get("addonName"));
        json!({ "updateIds": ids }).to_string()
    }

    /// "preserve … keeps the add-on software on your cluster" (the service's model): its associations go in
    /// any case.
    fn delete(&self, name: &str) -> Answered {
        let removed = self.cluster.addons.lock().remove(name);
        let mut addon = removed.ok_or_else(|| self.unknown(name))?;
        self.dissociate(&addon);
        addon.status = "DELETING";
        Ok(json!({ "addon": addon }).to_string())
    }

    fn associate(
        &self,
        name: &str,
        owner_arn: &str,
        owned: Vec<JsonObject<OwnedAssociation>>,
    ) -> Result<Vec<String>, ApiError> {
        let api = AssociationsApi {
            cluster: self.cluster,
            now: self.now,
        };
        let requests = owned
            .into_iter()
            .map(|JsonObject(association)| CreateRequest {
                namespace: Some(namespace_of(name).to_owned()),
                service_account: Some(association.service_account),
                role_arn: Some(association.role_arn),
                ..CreateRequest::default()
            });
        requests
            .map(|request| {
                let created = api.create_for(request, Some(owner_arn))?;
                Ok(self.cluster.association_arn(&created.id))
            })
            .collect()
    }

    fn dissociate(&self, addon: &Addon) {
        for arn in &addon.pod_identity_associations {
            let id = arn.rsplit('/').next().unwrap_or_default();
            self.cluster.associations.delete(id, self.now);
        }
    }

    fn unknown(&self, name: &str) -> ApiError {
        let cluster = &self.cluster.name;
        ApiErrorCode::ResourceNotFound
            .because(format!("No addon: {name} found in cluster: {cluster}"))
    }
}

/// One version of each requested add-on, or of those that every cluster has.
fn versions(query: &Form) -> String {
    let names = match query.get("addonName") {
        Some(name) => vec![name],
        None => vec!["coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"],
    };
    let addons = names.into_iter().map(|name| {
        json!({
            "addonName": redaction::text(name),
            "type": "networking",
            "owner": "aws",
            "publisher": "eks",
            "addonVersions": [{
                "addonVersion": ADDON_VERSION,
                "architecture": ["amd64", "arm64"],
                "compatibilities": [{ "clusterVersion": VERSION, "platformVersions": ["*"], "defaultVersion": true }],
                "requiresConfiguration": false,
                "requiresIamPermissions": false,
            }],
        })
    });
    json!({ "addons": addons.collect::<Vec<Value>>() }).to_string()
}

/// An add-on without settings, and with the one service account that it is known to have.
fn configuration(query: &Form) -> Answered {
    let name = query.get("addonName").unwrap_or_default();
    if name.is_empty() {
        return Err(ApiErrorCode::InvalidParameter.because("The parameter addonName is required."));
    }
    let accounts: Vec<Value> = service_account_of(name)
        .into_iter()
        .map(|account| json!({ "serviceAccount": account, "recommendedManagedPolicies": [] }))
        .collect();
    let configuration = json!({
        "addonName": redaction::text(name),
        "addonVersion": redaction::text(query.get("addonVersion").unwrap_or(ADDON_VERSION)),
        "configurationSchema": "{}",
        "podIdentityConfiguration": accounts,
    });
    Ok(configuration.to_string())
}

/// The service account of an add-on that calls AWS. Add-ons that are not named here have none.
fn service_account_of(addon: &str) -> Option<&'static str> {
    match addon {
        "aws-ebs-csi-driver" => Some("ebs-csi-controller-sa"),
        "aws-efs-csi-driver" => Some("efs-csi-controller-sa"),
        "external-dns" => Some("external-dns"),
        "vpc-cni" => Some("aws-node"),
        _ => None,
    }
}

/// The namespace of an add-on's service accounts. That of an add-on that is not named here is assumed.
fn namespace_of(addon: &str) -> &'static str {
    match addon {
        "adot" => "opentelemetry-operator-system",
        "amazon-cloudwatch-observability" => "amazon-cloudwatch",
        "cert-manager" => "cert-manager",
        "external-dns" => "external-dns",
        _ => "kube-system",
    }
}

const ADDON_VERSION: &str = "v1.0.0-eksbuild.1";
