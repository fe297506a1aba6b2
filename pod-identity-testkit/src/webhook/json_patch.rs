use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use pod_identity_core::JsonObject;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A JSON patch (RFC 6902) as the webhook answers it.
///
/// It serializes to the array of RFC 6902, with the members of an operation in the order of the
/// official webhook: `op`, `path`, `value`. The webhook itself makes additions only.
///
/// ```
/// use pod_identity_testkit::JsonPatch;
/// use serde_json::json;
///
/// let patch: JsonPatch = serde_json::from_value(json!([
///     {"op": "add", "path": "/metadata/labels/example.com~1team", "value": "cart"},
/// ]))?;
/// let patched = patch.apply_to(&json!({"metadata": {"labels": {}}}))?;
/// assert_eq!(patched, json!({"metadata": {"labels": {"example.com/team": "cart"}}}));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct JsonPatch(Patch);

impl JsonPatch {
    /// Returns whether the patch changes nothing, which is so for a pod that the webhook ignores.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the document that the API server has after this patch.
    ///
    /// # Errors
    /// [`PatchError`] if the document lacks a path that an operation needs: the parent of an addition
    /// must exist, and must be an object or a long enough array.
    pub fn apply_to(&self, document: &Value) -> Result<Value, PatchError> {
        let mut patched = document.clone();
        json_patch::patch(&mut patched, &self.0)
            .map_err(|error| PatchError(error.path.to_string()))?;
        Ok(patched)
    }

    /// Estimates the memory that its operations take.
    #[cfg(feature = "webhook")]
    pub(crate) fn size(&self) -> usize {
        let operations = self.0.iter().map(|operation| {
            let value = match operation {
                PatchOperation::Add(AddOperation { value, .. }) => {
                    crate::record::size::of_json(value)
                }
                // The webhook makes none of them.
                _ => 0,
            };
            std::mem::size_of::<PatchOperation>()
                + crate::record::size::of_text(operation.path().as_str())
                + value
        });
        operations.sum()
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, value: Value) {
        let path = PointerBuf::parse(path.into()).expect("a path must be a JSON pointer");
        self.0
            .0
            .push(PatchOperation::Add(AddOperation { path, value }));
    }
}

impl<'de> Deserialize<'de> for JsonPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let operations = Vec::<JsonObject<PatchOperation>>::deserialize(deserializer)?;
        let operations = operations.into_iter();
        Ok(Self(Patch(
            operations.map(|JsonObject(operation)| operation).collect(),
        )))
    }
}

/// The error for a patch that does not fit a document. It names the path that the document lacks.
///
/// Apply a patch to the pod that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document has no place for {0:?}")]
pub struct PatchError(String);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn added(document: Value, path: &str) -> Option<Value> {
        let patch = json!([{"op": "add", "path": path, "value": "new"}]);
        let patch: JsonPatch = serde_json::from_value(patch).ok()?;
        patch.apply_to(&document).ok()
    }

    #[test]
    fn an_addition_is_inserted_at_its_path() {
        for (document, path, expected) in [
            (json!({}), "/a", json!({"a": "new"})),
            (json!({"a": 1}), "/a", json!({"a": "new"})),
            (json!({"a": {}}), "/a/b~1c", json!({"a": {"b/c": "new"}})),
            (json!({"a": {}}), "/a/b~01", json!({"a": {"b~1": "new"}})),
            (json!({"a/b": {}}), "/a~1b/c", json!({"a/b": {"c": "new"}})),
            (json!([1, 2]), "/0", json!(["new", 1, 2])),
            (json!([1, 2]), "/2", json!([1, 2, "new"])),
            (json!([1, 2]), "/-", json!([1, 2, "new"])),
            (json!({"a": 1}), "", json!("new")),
        ] {
            assert_eq!(
                added(document.clone(), path),
                Some(expected),
                "{document} {path}"
            );
        }
    }

    #[test]
    fn an_addition_without_a_parent_names_its_path() {
        for (document, path) in [
            (json!({}), "/a/b"),
            (json!({"a": 1}), "/a/b"),
            (json!([1, 2]), "/3"),
            (json!([1, 2]), "/first"),
            (json!({}), "a"),
        ] {
            assert_eq!(added(document.clone(), path), None, "{document} {path}");
        }
        let mut patch = JsonPatch::default();
        patch.add("/spec/volumes/0", json!({}));
        let error = patch.apply_to(&json!({})).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the document has no place for "/spec/volumes/0""#
        );
    }

    #[test]
    fn an_operation_is_an_object() {
        for patch in [
            json!([["add", "/a", 1]]),
            json!([[]]),
            json!({}),
            json!([{"op": "add", "path": "/a"}]),
        ] {
            let read = serde_json::from_value::<JsonPatch>(patch.clone());
            assert!(read.is_err(), "{patch}");
        }
    }

    #[test]
    fn members_are_in_the_order_of_the_official_webhook() {
        let mut patch = JsonPatch::default();
        patch.add("/a", json!({"z": 1, "b": 2}));
        assert_eq!(
            serde_json::to_string(&patch).unwrap(),
            r#"[{"op":"add","path":"/a","value":{"b":2,"z":1}}]"#
        );
    }
}
