use pod_identity_core::printable;
use serde_json::Value;

use crate::eks::iam::attempt::Attempt;
use crate::eks::iam::wildcard::{is_arn_like, is_like};

/// One key of a statement's `Condition`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    matching: Matching,
    negated: bool,
    if_exists: bool,
    /// In lower case, because keys are compared without case.
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Matching {
    Equal,
    EqualIgnoringCase,
    Like,
    Arn,
    /// Returns whether the key is absent.
    Null,
}

/// Why a text is not accepted as the trust policy of a [`Role`](crate::Role).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustPolicyError {
    /// It is not JSON, or not a trust policy.
    #[error("not a trust policy: {}", printable(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// The mock does not have this condition operator.
    #[error("condition operator {} is not supported: use those for strings, ARNs, Bool or Null", printable(.0))]
    Operator(String),
}

impl Condition {
    pub(crate) fn parse(
        operator: &str,
        key: &str,
        values: &Value,
    ) -> Result<Self, TrustPolicyError> {
        let unknown = || TrustPolicyError::Operator(operator.to_owned());
        let (name, if_exists) = match operator.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (operator, false),
        };
        let (matching, negated) = match name {
            "StringEquals" | "Bool" => (Matching::Equal, false),
            "StringNotEquals" => (Matching::Equal, true),
            "StringEqualsIgnoreCase" => (Matching::EqualIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Matching::EqualIgnoringCase, true),
            "StringLike" => (Matching::Like, false),
            "StringNotLike" => (Matching::Like, true),
            "ArnEquals" | "ArnLike" => (Matching::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Matching::Arn, true),
            "Null" => (Matching::Null, false),
            _ => return Err(unknown()),
        };
        Ok(Self {
            matching,
            negated,
            if_exists,
            key: key.to_ascii_lowercase(),
            values: texts(values),
        })
    }

    /// "If the key is not present in the request, the values do not match": so a condition is not met,
    /// and a negated one is.
    pub(crate) fn is_met(&self, attempt: &Attempt<'_>) -> bool {
        let value = attempt.value(&self.key);
        if let Matching::Null = self.matching {
            let absent = if value.is_none() { "true" } else { "false" };
            return self.values.iter().any(|wanted| wanted == absent);
        }
        match value {
            Some(value) => self.values.iter().any(|it| self.matches(value, it)) != self.negated,
            None => self.negated || self.if_exists,
        }
    }

    fn matches(&self, value: &str, wanted: &str) -> bool {
        match self.matching {
            Matching::Equal => value == wanted,
            Matching::EqualIgnoringCase => value.eq_ignore_ascii_case(wanted),
            Matching::Like => is_like(value, wanted),
            Matching::Arn => is_arn_like(value, wanted),
            Matching::Null => false,
        }
    }
}

fn texts(values: &Value) -> Vec<String> {
    match values {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::eks::iam::attempt::Principal;

    #[test]
    fn operators_compare_as_in_iam() {
        let tags = BTreeMap::from([("kubernetes-namespace".to_owned(), "shop".to_owned())]);
        let attempt = Attempt {
            principal: Principal::Service("pods.eks.amazonaws.com"),
            tags: &tags,
            context: BTreeMap::from([
                (
                    "aws:sourcearn",
                    "arn:aws:eks:us-west-2:111122223333:cluster/prod".to_owned(),
                ),
                ("aws:securetransport", "true".to_owned()),
            ]),
        };
        let cluster = "arn:aws:eks:us-west-2:111122223333:cluster/*";
        let namespace = "aws:RequestTag/kubernetes-namespace";
        for (operator, key, values, expected) in [
            ("StringEquals", namespace, json!("shop"), true),
            ("StringEquals", namespace, json!(["x", "shop"]), true),
            ("StringEquals", namespace, json!("Shop"), false),
            ("StringEqualsIgnoreCase", namespace, json!("Shop"), true),
            ("StringEqualsIgnoreCase", namespace, json!("bank"), false),
            ("StringNotEquals", namespace, json!(["x", "shop"]), false),
            ("StringNotEqualsIgnoreCase", namespace, json!("SHOP"), false),
            ("StringNotEqualsIgnoreCase", namespace, json!("bank"), true),
            ("StringNotEquals", "aws:absent", json!("x"), true),
            ("StringEquals", "aws:absent", json!("x"), false),
            ("StringEqualsIfExists", "aws:absent", json!("x"), true),
            ("StringEquals", "aws:SourceArn", json!(cluster), false),
            ("StringLike", "aws:SourceArn", json!(cluster), true),
            ("StringNotLike", "aws:SourceArn", json!(cluster), false),
            ("StringNotLike", "aws:SourceArn", json!("*dev"), true),
            ("ArnLike", "AWS:sourcearn", json!(cluster), true),
            ("ArnEquals", "aws:SourceArn", json!(cluster), true),
            ("ArnNotEquals", "aws:SourceArn", json!(cluster), false),
            ("ArnNotLike", "aws:SourceArn", json!(cluster), false),
            ("ArnNotLike", "aws:SourceArn", json!("*"), true),
            ("Bool", "aws:SecureTransport", json!(true), true),
            ("Bool", "aws:SecureTransport", json!("false"), false),
            ("BoolIfExists", "aws:absent", json!(true), true),
            ("Null", "aws:absent", json!(true), true),
            ("Null", "aws:absent", json!(false), false),
            ("Null", "aws:SourceArn", json!("true"), false),
            ("Null", "aws:SourceArn", json!([true, false]), true),
        ] {
            let condition = Condition::parse(operator, key, &values).unwrap();
            assert_eq!(
                condition.is_met(&attempt),
                expected,
                "{operator} {key} {values}"
            );
        }
    }
}
