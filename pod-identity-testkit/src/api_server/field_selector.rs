use serde_json::Value;

use crate::api_server::status::{Reason, Status};

/// The parameter `fieldSelector` of a list or a watch: conditions joined by commas, all of which must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSelector(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    pointer: &'static str,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses `spec.nodeName=node-1,status.phase!=Failed`; `==` is `=`.
    ///
    /// # Errors
    /// Fails as an API server does for a field by which pods cannot be selected.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let conditions = text.split(',').filter(|part| !part.is_empty());
        conditions
            .map(Condition::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn matches(&self, pod: &Value) -> bool {
        self.0.iter().all(|condition| condition.holds(pod))
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Status> {
        let split = |operator, equal| {
            let (field, value) = text.split_once(operator)?;
            Some((field, equal, value))
        };
        let parsed = split("!=", false)
            .or_else(|| split("==", true))
            .or_else(|| split("=", true));
        let (field, equal, value) = parsed.ok_or_else(|| {
            let message = format!("invalid selector: '{text}'; can't understand '{text}'");
            Status::new(Reason::BadRequest, message)
        })?;
        let known = FIELDS.into_iter().find(|(name, _)| *name == field);
        let (_, pointer) = known.ok_or_else(|| {
            let message = format!("field label not supported: {field}");
            Status::new(Reason::BadRequest, message)
        })?;
        Ok(Self {
            pointer,
            equal,
            value: value.to_owned(),
        })
    }

    fn holds(&self, pod: &Value) -> bool {
        let value = pod.pointer(self.pointer).and_then(Value::as_str);
        (value.unwrap_or_default() == self.value) == self.equal
    }
}

/// Those of an API server that a node agent can need.
const FIELDS: [(&str, &str); 4] = [
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("spec.nodeName", "/spec/nodeName"),
    ("status.phase", "/status/phase"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_conditions_must_hold_and_an_absent_field_is_empty() {
        let pod = json!({"metadata": {"name": "cart-0"}, "spec": {"nodeName": "node-1"}});
        for (selector, matches) in [
            ("", true),
            ("spec.nodeName=node-1", true),
            ("spec.nodeName==node-1", true),
            ("spec.nodeName=node-2", false),
            ("spec.nodeName=", false),
            ("spec.nodeName=node-1,status.phase!=Failed", true),
            ("spec.nodeName=node-1,metadata.name!=cart-0", false),
        ] {
            let parsed = FieldSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&pod), matches, "{selector}");
        }
        for selector in ["spec.image=x", "spec.nodeName"] {
            let refused = FieldSelector::parse(selector).unwrap_err();
            assert_eq!(refused.answer().status(), 400, "{selector}");
        }
    }
}
