use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON patch as the webhook answers it: serialised, it is the array of RFC 6902.
///
/// It holds additions only, the one operation that this webhook uses; another one does not
/// deserialise. As in RFC 6902 §4.1, adding what is there already replaces it.
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonPatch(Vec<Addition>);

/// The members are serialised in the order of the official webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Addition {
    op: Operation,
    path: String,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Add,
}

impl JsonPatch {
    /// Whether it changes nothing: the webhook has nothing to do with the pod.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The document as the API server would have it after this patch.
    ///
    /// # Errors
    /// [`PatchError`] when the parent of an addition is not there, or is no object or array that has
    /// room for it.
    pub fn apply_to(&self, document: &Value) -> Result<Value, PatchError> {
        let mut patched = document.clone();
        for addition in &self.0 {
            let added = add(&mut patched, &addition.path, &addition.value);
            added.ok_or_else(|| PatchError(addition.path.clone()))?;
        }
        Ok(patched)
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, value: Value) {
        self.0.push(Addition {
            op: Operation::Add,
            path: path.into(),
            value,
        });
    }
}

/// A patch does not fit a document. It names the path that could not be added.
///
/// The remedy is to apply a patch to the pod that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document has no place for {0:?}")]
pub struct PatchError(String);

/// Nothing, when there is no place for it.
fn add(document: &mut Value, path: &str, value: &Value) -> Option<()> {
    let Some((parent, member)) = path.rsplit_once('/') else {
        *document = path.is_empty().then(|| value.clone())?;
        return Some(());
    };
    match document.pointer_mut(parent)? {
        Value::Object(members) => {
            members.insert(unescape(member), value.clone());
        }
        Value::Array(elements) => {
            let index = match member {
                "-" => elements.len(),
                digits => digits.parse().ok()?,
            };
            if index > elements.len() {
                return None;
            }
            elements.insert(index, value.clone());
        }
        _ => return None,
    }
    Some(())
}

/// RFC 6901 §4.
fn unescape(member: &str) -> String {
    member.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn added(document: Value, path: &str) -> Option<Value> {
        let mut patch = JsonPatch::default();
        patch.add(path, json!("new"));
        patch.apply_to(&document).ok()
    }

    #[test]
    fn an_addition_has_its_place() {
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
    fn an_addition_without_a_place_names_its_path() {
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
    fn another_operation_is_refused() {
        let remove = json!([{"op": "remove", "path": "/a", "value": null}]);
        serde_json::from_value::<JsonPatch>(remove).unwrap_err();
    }
}
