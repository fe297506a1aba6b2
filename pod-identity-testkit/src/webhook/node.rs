use serde_json::{Map, Value};

/// A value in a pod's manifest, with its path for errors. `null` counts as absent.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self {
            value: Some(value),
            path: String::new(),
        }
    }

    /// Returns the value at a JSON pointer relative to this one, which may be absent.
    pub(crate) fn at(&self, pointer: &str) -> Self {
        let value = self.value.and_then(|value| value.pointer(pointer));
        Self {
            value: value.filter(|value| !value.is_null()),
            path: format!("{}{pointer}", self.path),
        }
    }

    pub(crate) fn exists(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn text(&self) -> Result<Option<&'a str>, PodError> {
        self.read("a string", Value::as_str)
    }

    pub(crate) fn number(&self) -> Result<Option<u64>, PodError> {
        self.read("a number that is not negative", Value::as_u64)
    }

    pub(crate) fn object(&self) -> Result<Option<&'a Map<String, Value>>, PodError> {
        self.read("an object", Value::as_object)
    }

    /// Returns the elements of an array, or none if it is absent.
    pub(crate) fn elements(&self) -> Result<Vec<Self>, PodError> {
        let values = self.read("an array", Value::as_array)?;
        let count = values.map_or(0, Vec::len);
        Ok((0..count)
            .map(|index| self.at(&format!("/{index}")))
            .collect())
    }

    /// Returns the member of this name in an object of strings.
    pub(crate) fn entry(&self, name: &str) -> Result<Option<&'a str>, PodError> {
        let Some(value) = self.object()?.and_then(|members| members.get(name)) else {
            return Ok(None);
        };
        Self {
            value: Some(value).filter(|value| !value.is_null()),
            path: format!("{}/{}", self.path, name.replace('/', "~1")),
        }
        .text()
    }

    /// Returns `name` of every element of an array.
    pub(crate) fn names(&self) -> Result<Vec<&'a str>, PodError> {
        let elements = self.elements()?;
        let names = elements.iter().map(|element| element.at("/name").text());
        names.filter_map(Result::transpose).collect()
    }

    /// Returns a copy of the value.
    pub(crate) fn cloned(&self) -> Option<Value> {
        self.value.cloned()
    }

    /// The error that this value must not be absent.
    pub(crate) fn missing(&self) -> PodError {
        PodError::Missing(self.path.clone())
    }

    fn read<T>(
        &self,
        expected: &'static str,
        of_type: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, PodError> {
        let wrong = || PodError::Type {
            path: self.path.clone(),
            expected,
        };
        let typed = |value| of_type(value).ok_or_else(wrong);
        self.value.map(typed).transpose()
    }
}

/// Why a manifest is not that of a pod, or which container it lacks.
///
/// Pass the manifest as the API server has it: JSON of `kind: Pod`, not of the pod's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PodError {
    /// A member has another type than in a pod.
    #[error("{path:?} of the pod must be {expected}")]
    Type {
        /// The JSON pointer (RFC 6901) of the member; empty for the whole manifest.
        path: String,
        /// The expected type.
        expected: &'static str,
    },
    /// A member that every pod needs is absent or empty. It is a JSON pointer (RFC 6901).
    #[error("{0:?} of the pod is missing")]
    Missing(String),
    /// The pod has no container or init container of this name.
    #[error("the pod has no container {0:?}")]
    NoContainer(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_member_counts_as_absent() {
        let pod = json!({"spec": {"volumes": null}});
        let volumes = Node::root(&pod).at("/spec/volumes");
        assert!(!volumes.exists());
        assert_eq!(volumes.elements().unwrap().len(), 0);
    }

    #[test]
    fn an_error_names_the_path() {
        let pod =
            json!({"metadata": {"annotations": {"a/b": 1}}, "spec": {"volumes": [{"name": 1}]}});
        let root = Node::root(&pod);
        let error = root.at("/spec/volumes").names().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""/spec/volumes/0/name" of the pod must be a string"#
        );
        let error = root.at("/metadata/annotations").entry("a/b").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""/metadata/annotations/a~1b" of the pod must be a string"#
        );
        root.at("/spec").elements().unwrap_err();
    }
}
