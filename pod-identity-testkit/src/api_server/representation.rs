use serde_json::{Map, Value, json};

/// How objects are represented in an answer, by the request's `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    Full,
    /// `application/json;as=PartialObjectMetadata`, or `…List` for a list.
    MetadataOnly,
}

impl Representation {
    pub(crate) fn accepted_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("as=PartialObjectMetadata") => Self::MetadataOnly,
            _ => Self::Full,
        }
    }

    /// A pod by itself.
    pub(crate) fn pod(self, pod: &Value) -> Value {
        match self {
            Self::Full => with_kind(pod, "v1", "Pod"),
            Self::MetadataOnly => {
                let metadata = json!({ "metadata": pod.get("metadata") });
                with_kind(&metadata, META, "PartialObjectMetadata")
            }
        }
    }

    /// Pods as a list. The items of a `PodList` have no kind. Those of an empty `PartialObjectMetadataList` are null:
    /// only the list before its conversion is made to have an empty array (`transformResponseObject` in
    /// `apiserver/pkg/endpoints/handlers/response.go`).
    pub(crate) fn pods(self, pods: &[Value], version: u64) -> Value {
        let metadata = json!({ "resourceVersion": version.to_string() });
        let (api_version, kind, items) = match self {
            Self::Full => ("v1", "PodList", Some(pods.to_vec())),
            Self::MetadataOnly => {
                let items =
                    (!pods.is_empty()).then(|| pods.iter().map(|pod| self.pod(pod)).collect());
                (META, "PartialObjectMetadataList", items)
            }
        };
        json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
    }

    /// The object of a bookmark.
    pub(crate) fn bookmark(self, version: u64) -> Value {
        let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        self.pod(&json!({"metadata": metadata, "spec": {"containers": null}, "status": {}}))
    }
}

fn with_kind(object: &Value, api_version: &str, kind: &str) -> Value {
    let mut shown = Map::from_iter([
        ("kind".to_owned(), kind.into()),
        ("apiVersion".to_owned(), api_version.into()),
    ]);
    shown.extend(object.as_object().cloned().unwrap_or_default());
    shown.into()
}

const META: &str = "meta.k8s.io/v1";
