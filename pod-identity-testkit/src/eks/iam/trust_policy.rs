use std::collections::BTreeMap;

use pod_identity_core::JsonObject;
use serde::Deserialize;

use crate::eks::iam::attempt::{Attempt, Principal};
use crate::eks::iam::condition::{Condition, TrustPolicyError};
use crate::eks::iam::wildcard::is_like;

/// A trust policy: which principals can assume a role. Has the part of IAM's language that these use.
#[derive(Debug, Clone)]
pub(crate) struct TrustPolicy(Vec<Statement>);

#[derive(Debug, Clone)]
struct Statement {
    allows: bool,
    principals: PrincipalJson,
    actions: Vec<String>,
    conditions: Vec<Condition>,
}

impl TrustPolicy {
    pub(crate) fn parse(json: &str) -> Result<Self, TrustPolicyError> {
        let JsonObject(policy): JsonObject<PolicyJson> = serde_json::from_str(json)?;
        let statements = policy.statement.into_vec().into_iter();
        statements
            .map(Statement::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns whether the policy allows the action to the principal if its conditions are met.
    pub(crate) fn names(&self, principal: &Principal<'_>, action: &str) -> bool {
        let mut statements = self.0.iter();
        statements.any(|statement| statement.allows && statement.is_about(principal, action))
    }

    /// An explicit deny takes precedence.
    pub(crate) fn allows(&self, action: &str, attempt: &Attempt<'_>) -> bool {
        let mut applying = self
            .0
            .iter()
            .filter(|statement| statement.applies(action, attempt))
            .peekable();
        applying.peek().is_some() && applying.all(|statement| statement.allows)
    }
}

impl Statement {
    fn parse(JsonObject(json): JsonObject<StatementJson>) -> Result<Self, TrustPolicyError> {
        let mut conditions = Vec::new();
        for (operator, keys) in &json.condition {
            for (key, values) in keys {
                conditions.push(Condition::parse(operator, key, values)?);
            }
        }
        Ok(Self {
            allows: matches!(json.effect, Effect::Allow),
            principals: json.principal,
            actions: json.action.into_vec(),
            conditions,
        })
    }

    fn applies(&self, action: &str, attempt: &Attempt<'_>) -> bool {
        let mut conditions = self.conditions.iter();
        self.is_about(&attempt.principal, action)
            && conditions.all(|condition| condition.is_met(attempt))
    }

    fn is_about(&self, principal: &Principal<'_>, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        self.principals.include(principal)
            && self
                .actions
                .iter()
                .any(|pattern| is_like(&action, &pattern.to_ascii_lowercase()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyJson {
    statement: OneOrMany<JsonObject<StatementJson>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatementJson {
    effect: Effect,
    principal: PrincipalJson,
    action: OneOrMany<String>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum PrincipalJson {
    /// `"*"`.
    All(String),
    Of(BTreeMap<String, OneOrMany<String>>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl PrincipalJson {
    fn include(&self, principal: &Principal<'_>) -> bool {
        match (self, principal) {
            (Self::All(all), _) => all == "*",
            (Self::Of(kinds), Principal::Service(name)) => kinds
                .get("Service")
                .is_some_and(|names| names.as_slice().iter().any(|it| it == name)),
            (Self::Of(kinds), Principal::Role(arn)) => kinds.get("AWS").is_some_and(|names| {
                let mut names = names.as_slice().iter();
                names.any(|it| it == "*" || it == arn || is_account_of(it, arn))
            }),
        }
    }
}

/// `arn:aws:iam::111122223333:root`, or the account's number alone, means every principal of the account.
fn is_account_of(name: &str, arn: &str) -> bool {
    let account = arn.split(':').nth(4).unwrap_or_default();
    let named = name
        .strip_suffix(":root")
        .and_then(|arn| arn.rsplit(':').next())
        .unwrap_or(name);
    !account.is_empty() && named == account
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Principal<'_> = Principal::Service("pods.eks.amazonaws.com");

    fn allows(statements: &str, principal: Principal<'_>) -> bool {
        let policy = TrustPolicy::parse(&format!(r#"{{"Statement":{statements}}}"#)).unwrap();
        let attempt = Attempt {
            principal,
            tags: &BTreeMap::from([("kubernetes-namespace".to_owned(), "shop".to_owned())]),
            context: BTreeMap::from([
                ("aws:sourceaccount", "111122223333".to_owned()),
                (
                    "aws:sourcearn",
                    "arn:aws:eks:us-west-2:111122223333:cluster/prod".to_owned(),
                ),
            ]),
        };
        policy.allows("sts:AssumeRole", &attempt)
    }

    fn statement(effect: &str, principal: &str, action: &str, condition: &str) -> String {
        format!(
            r#"{{"Effect":"{effect}","Principal":{principal},"Action":{action},"Condition":{condition}}}"#
        )
    }

    #[test]
    fn principal_and_action_decide_whether_a_statement_applies() {
        let service = r#"{"Service":"pods.eks.amazonaws.com"}"#;
        let role = Principal::Role("arn:aws:iam::111122223333:role/cart");
        for (by, principal, action, expected) in [
            (PODS, service, r#""sts:AssumeRole""#, true),
            (
                PODS,
                service,
                r#"["sts:TagSession","sts:assumerole"]"#,
                true,
            ),
            (PODS, service, r#""sts:*""#, true),
            (PODS, service, r#""sts:TagSession""#, false),
            (
                PODS,
                r#"{"Service":["ec2.amazonaws.com"]}"#,
                r#""*""#,
                false,
            ),
            (PODS, r#"{"AWS":"*"}"#, r#""*""#, false),
            (PODS, r#""*""#, r#""*""#, true),
            (role, service, r#""*""#, false),
            (
                role,
                r#"{"AWS":"arn:aws:iam::111122223333:role/cart"}"#,
                r#""*""#,
                true,
            ),
            (
                role,
                r#"{"AWS":["arn:aws:iam::111122223333:root"]}"#,
                r#""*""#,
                true,
            ),
            (role, r#"{"AWS":"111122223333"}"#, r#""*""#, true),
            (
                role,
                r#"{"AWS":"arn:aws:iam::444455556666:root"}"#,
                r#""*""#,
                false,
            ),
        ] {
            let statement = statement("Allow", principal, action, "{}");
            assert_eq!(allows(&statement, by), expected, "{statement}");
        }
    }

    #[test]
    fn conditions_and_explicit_denies_are_evaluated() {
        let all = r#""*""#;
        let met = r#"{"StringEquals":{"aws:SourceAccount":"111122223333"}}"#;
        let unmet = r#"{"StringEquals":{"aws:SourceAccount":["1","2"]}}"#;
        let allow = |condition| statement("Allow", all, all, condition);
        let deny = |condition| statement("Deny", all, all, condition);
        for (statements, expected) in [
            (allow(met), true),
            (allow(unmet), false),
            (format!("[{},{}]", allow(unmet), allow(met)), true),
            (format!("[{},{}]", allow(met), deny(met)), false),
            (format!("[{},{}]", allow(met), deny(unmet)), true),
            ("[]".to_owned(), false),
        ] {
            assert_eq!(allows(&statements, PODS), expected, "{statements}");
        }
    }

    #[test]
    fn a_policy_that_cannot_be_evaluated_is_refused_when_parsed() {
        let date = r#"{"DateLessThan":{"aws:CurrentTime":"2026-03-01T00:00:00Z"}}"#;
        let statement = statement("Allow", r#""*""#, r#""*""#, date);
        let error = TrustPolicy::parse(&format!(r#"{{"Statement":{statement}}}"#)).unwrap_err();
        assert!(error.to_string().contains("DateLessThan"), "{error}");
        let error = TrustPolicy::parse(&format!(
            r#"{{"Statement":{}}}"#,
            statement.replace("DateLessThan", r"Date\n")
        ));
        assert_eq!(error.unwrap_err().to_string().lines().count(), 1);
        for json in [
            "",
            "{}",
            "[[]]",
            r#"{"Statement":[{"Effect":"Maybe"}]}"#,
            r#"{"Statement":[["Allow","*","sts:AssumeRole"]]}"#,
        ] {
            TrustPolicy::parse(json).unwrap_err();
        }
    }
}
