use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pod_identity_core::JsonObject;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mutation::mutate_pod_in;
use crate::record::redaction;
use crate::{JsonPatch, WebhookConfig};

/// A request of the API server: the members of an `AdmissionReview` that the webhook reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review {
    api_version: ApiVersion,
    kind: Kind,
    request: JsonObject<Request>,
}

/// Both versions have the same members here.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
enum ApiVersion {
    #[serde(rename = "admission.k8s.io/v1")]
    V1,
    #[serde(rename = "admission.k8s.io/v1beta1")]
    V1Beta1,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
enum Kind {
    AdmissionReview,
}

#[derive(Debug, Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    namespace: String,
    object: Value,
}

/// The answer, with its members in the official order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reviewed {
    kind: Kind,
    api_version: ApiVersion,
    response: Response,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Status {
    metadata: Metadata,
    message: String,
}

/// Go always writes it; here it is always empty.
#[derive(Debug, Serialize)]
struct Metadata {}

impl Review {
    /// Returns the answer, and the patch in it if the pod is allowed.
    pub(crate) fn answer(self, config: &WebhookConfig) -> (Reviewed, Option<JsonPatch>) {
        let JsonObject(Request {
            uid,
            namespace,
            object,
        }) = self.request;
        let patch = mutate_pod_in(&namespace, &object, config);
        let response = match &patch {
            Ok(patch) => Response::allowed(uid, patch),
            Err(error) => Response::denied(uid, redaction::text(&error.to_string())),
        };
        let reviewed = Reviewed {
            kind: self.kind,
            api_version: self.api_version,
            response,
        };
        (reviewed, patch.ok())
    }
}

impl Response {
    fn allowed(uid: String, patch: &JsonPatch) -> Self {
        let encoded = (!patch.is_empty()).then(|| encode(patch));
        Self {
            uid,
            allowed: true,
            status: None,
            patch_type: encoded.as_ref().map(|_| "JSONPatch"),
            patch: encoded,
        }
    }

    fn denied(uid: String, message: String) -> Self {
        Self {
            uid,
            allowed: false,
            status: Some(Status {
                metadata: Metadata {},
                message,
            }),
            patch: None,
            patch_type: None,
        }
    }
}

fn encode(patch: &JsonPatch) -> String {
    let json = serde_json::to_vec(patch).expect("a patch must serialize");
    STANDARD.encode(json)
}
