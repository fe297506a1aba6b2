//! The checks of the associations API.
//!
//! The public model has no pattern for any of it. Where a rule says "assumed", its limit follows from what the
//! thing is in Kubernetes or IAM, and the text of the error is ours; only the code is the service's.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{ApiError, ApiErrorCode, Association};

/// What an ARN of a role must agree with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) partition: &'a str,
    pub(crate) account: &'a str,
}

/// Checks a request that creates an association.
pub(crate) fn check(association: &Association, owner: Owner<'_>) -> Result<(), ApiError> {
    check_name("namespace", &association.namespace, is_label, 63)?;
    let service_account = &association.service_account;
    check_name("serviceAccount", service_account, is_subdomain, 253)?;
    check_roles(association, owner)?;
    check_policy(association)?;
    check_tags(&association.tags).map_err(invalid)
}

/// Checks the parts of an association that an update can change.
pub(crate) fn check_update(association: &Association, owner: Owner<'_>) -> Result<(), ApiError> {
    check_roles(association, owner)?;
    check_policy(association)
}

fn check_roles(association: &Association, owner: Owner<'_>) -> Result<(), ApiError> {
    let role = Role::parse("roleArn", &association.role_arn, owner)?;
    // "IAM roles … that are in the same AWS account as the EKS cluster" (EKS user guide). The text is IAM's
    // for every service that a role is passed to.
    if role.account != owner.account {
        return Err(ApiErrorCode::AccessDenied.because("Cross-account pass role is not allowed."));
    }
    if let Some(target) = &association.target_role_arn {
        // In any account: that is what a target role is for.
        Role::parse("targetRoleArn", target, owner)?;
    }
    Ok(())
}

/// Whether this is the ARN of a role, of any partition and account.
pub(crate) fn is_role_arn(arn: &str) -> bool {
    let partition = arn.split(':').nth(1).unwrap_or_default();
    let is_partition = partition.split('-').enumerate().all(|(at, part)| match at {
        0 => part == "aws",
        _ => !part.is_empty() && part.bytes().all(|it| it.is_ascii_lowercase()),
    });
    let owner = Owner {
        partition,
        account: "",
    };
    is_partition && Role::parse("roleArn", arn, owner).is_ok()
}

struct Role<'a> {
    account: &'a str,
}

impl<'a> Role<'a> {
    /// `arn:{partition}:iam::{account}:role/{path}{name}`. The limits of path and name are IAM's; that the
    /// partition must be the cluster's is assumed, because no role can be assumed over its border.
    fn parse(parameter: &str, arn: &'a str, owner: Owner<'_>) -> Result<Self, ApiError> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let role = match parts.as_slice() {
            ["arn", partition, "iam", "", account, resource] if *partition == owner.partition => {
                let path = resource.strip_prefix("role/");
                path.filter(|path| is_account(account) && is_role_path(path))
                    .map(|_path| Self { account })
            }
            _ => None,
        };
        role.ok_or_else(|| {
            let partition = owner.partition;
            invalid(format!(
                "The parameter {parameter} should be the ARN of an IAM role in the partition {partition}, \
                 such as arn:{partition}:iam::111122223333:role/name."
            ))
        })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// "This parameter allows … upper and lowercase alphanumeric characters … =,.@-_+", 64 of them, after a path
/// of at most 512 (IAM's model).
fn is_role_path(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_of_name = |it: char| it.is_ascii_alphanumeric() || "_+=,.@-".contains(it);
    (1..=64).contains(&name.len())
        && name.chars().all(is_of_name)
        && folder.len() <= 510
        && folder.chars().all(|it| ('!'..='\u{7e}').contains(&it))
        && !folder.contains("//")
}

/// Assumed: what Kubernetes allows for these names, or no pod could have them.
fn check_name(
    parameter: &str,
    name: &str,
    is_name: fn(&str) -> bool,
    most: usize,
) -> Result<(), ApiError> {
    if name.len() <= most && is_name(name) {
        return Ok(());
    }
    Err(invalid(format!(
        "The parameter {parameter} should be a name of Kubernetes: at most {most} lowercase letters, digits \
         and hyphens, with a letter or digit at both ends."
    )))
}

/// A label of RFC 1123.
fn is_label(text: &str) -> bool {
    let is_of_label = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    !text.is_empty()
        && text.chars().all(is_of_label)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A subdomain of RFC 1123: labels joined by dots. Kubernetes limits its length only as a whole.
fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// "When using this policy, disableSessionTags must be set to true." (the service's model) A session policy
/// has at most 2,048 characters (STS's model), and is an object with statements.
fn check_policy(association: &Association) -> Result<(), ApiError> {
    let Some(policy) = &association.policy else {
        return Ok(());
    };
    if !association.disable_session_tags {
        return Err(invalid(
            "disableSessionTags must be set to true when a policy is specified.",
        ));
    }
    if policy.chars().count() > 2_048 {
        return Err(invalid(
            "The parameter policy should be at most 2048 characters long.",
        ));
    }
    let policy = serde_json::from_str::<Map<String, Value>>(policy);
    let statement = policy
        .ok()
        .and_then(|mut policy| policy.remove("Statement"));
    match statement {
        Some(Value::Object(_) | Value::Array(_)) => Ok(()),
        _ => Err(invalid(
            "The parameter policy should be an IAM policy in JSON, with a Statement.",
        )),
    }
}

/// "Maximum number of tags per resource – 50. Maximum key length – 128. Maximum value length – 256. Do
/// not use `aws:` … as a prefix." (the service's model)
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), &'static str> {
    if tags.len() > 50 {
        return Err("A resource can have at most 50 tags.");
    }
    let is_reserved = |key: &str| {
        key.get(..4)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
    };
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err("A tag has a key of 1 to 128 and a value of at most 256 characters.");
        }
        if is_reserved(key) {
            return Err("Tag keys that begin with aws: are reserved.");
        }
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiErrorCode::InvalidParameter.because(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> = Owner {
        partition: "aws",
        account: "111122223333",
    };
    const ROLE: &str = "arn:aws:iam::111122223333:role/teams/cart";

    #[test]
    fn values_that_the_service_would_reject_are_refused() {
        let (label, long_label) = ("n".repeat(63), "n".repeat(64));
        let (subdomain, long_subdomain) = ("s".repeat(253), "s".repeat(254));
        let (path, long_name) = (
            "arn:aws:iam::111122223333:role/a/b/c",
            format!("arn:aws:iam::111122223333:role/{}", "r".repeat(65)),
        );
        for (namespace, service_account, role, is_good) in [
            ("shop", "cart", ROLE, true),
            ("shop", "cart.v2", path, true),
            (&label, &subdomain, ROLE, true),
            (&long_label, "cart", ROLE, false),
            ("shop", &long_subdomain, ROLE, false),
            ("Shop", "cart", ROLE, false),
            ("shop.eu", "cart", ROLE, false),
            ("shop", "-cart", ROLE, false),
            ("shop", "a..b", ROLE, false),
            ("shop", "a/b", ROLE, false),
            ("shop", "cart", "cart", false),
            (
                "shop",
                "cart",
                "arn:aws-cn:iam::111122223333:role/cart",
                false,
            ),
            ("shop", "cart", "arn:aws:iam::1111:role/cart", false),
            ("shop", "cart", "arn:aws:iam::111122223333:user/cart", false),
            ("shop", "cart", "arn:aws:iam::111122223333:role/", false),
            (
                "shop",
                "cart",
                "arn:aws:iam:us-west-2:111122223333:role/cart",
                false,
            ),
            (
                "shop",
                "cart",
                "arn:aws:iam::111122223333:role/ca rt",
                false,
            ),
            ("shop", "cart", &long_name, false),
        ] {
            let checked = check(&Association::new(namespace, service_account, role), OWNER);
            let expected = match is_good {
                true => Ok(()),
                false => Err(ApiErrorCode::InvalidParameter),
            };
            let shown = checked.clone().map_err(|error| error.code());
            assert_eq!(
                shown, expected,
                "{namespace} {service_account} {role}: {checked:?}"
            );
        }
    }

    #[test]
    fn the_arn_of_a_role_has_a_partition_an_account_and_a_name_of_iam() {
        for (arn, is_one) in [
            (ROLE, true),
            ("arn:aws-us-gov:iam::111122223333:role/cart", true),
            ("arn:aws-iso-b:iam::111122223333:role/a=b,c.d@e-f_g+h", true),
            ("arn:aws-:iam::111122223333:role/cart", false),
            ("arn:gcp:iam::111122223333:role/cart", false),
            ("arn:aws:iam::1:role/cart", false),
            ("arn:aws:iam::111122223333:role/", false),
            ("arn:aws:iam::111122223333:role/teams/", false),
            ("arn:aws:iam::111122223333:role/c rt", false),
            ("arn:aws:iam::111122223333:role/\u{e9}", false),
            ("arn:aws:sts::111122223333:role/cart", false),
            ("cart", false),
            ("", false),
        ] {
            assert_eq!(is_role_arn(arn), is_one, "{arn}");
        }
    }

    #[test]
    fn path_and_name_of_a_role_have_the_limits_of_iam() {
        for (account, folder, name, is_one) in [
            ("111122223333", "p".repeat(510), "n".repeat(64), true),
            ("111122223333", "p".repeat(511), "n".into(), false),
            ("111122223333", "p".into(), "n".repeat(65), false),
            ("111122223333", "!~".into(), "n".into(), true),
            ("111122223333", "a b".into(), "n".into(), false),
            ("111122223333", "a\u{7f}".into(), "n".into(), false),
            ("111122223333", "a//b".into(), "n".into(), false),
            ("11112222333x", "p".into(), "n".into(), false),
        ] {
            let arn = format!("arn:aws:iam::{account}:role/{folder}/{name}");
            assert_eq!(is_role_arn(&arn), is_one, "{arn}");
        }
    }

    #[test]
    fn tags_have_the_limits_of_the_service_and_no_reserved_key() {
        let checked = |tags: &[(&str, &str)]| {
            let tags = tags
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()));
            check_tags(&tags.collect()).is_ok()
        };
        let long = "é".repeat(257);
        let of = |length: usize| &long[..length * "é".len()];
        for (key, value, is_good) in [
            (of(128), of(256), true),
            (of(129), "", false),
            ("key", of(257), false),
            ("", "value", false),
            ("aws:team", "value", false),
            ("AWS:team", "value", false),
            ("aws", "aws:", true),
            ("team:aws:", "value", true),
        ] {
            assert_eq!(checked(&[(key, value)]), is_good, "{key} {value}");
        }
        let keys: Vec<String> = (0..51).map(|number| number.to_string()).collect();
        let tags: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert!(checked(&tags[..50]) && !checked(&tags));
    }

    #[test]
    fn the_role_is_in_the_account_of_the_cluster_and_the_target_role_in_any() {
        let other = "arn:aws:iam::444455556666:role/orders";
        let refused = check(&Association::new("shop", "cart", other), OWNER).unwrap_err();
        assert_eq!(refused.code(), ApiErrorCode::AccessDenied);
        let chained = Association::new("shop", "cart", ROLE).target_role_arn(other);
        assert_eq!(check(&chained, OWNER), Ok(()));
        let nowhere = Association::new("shop", "cart", ROLE).target_role_arn("orders");
        let refused = check(&nowhere, OWNER).unwrap_err();
        assert_eq!(refused.code(), ApiErrorCode::InvalidParameter);
    }

    #[test]
    fn a_policy_is_json_of_at_most_2048_characters_without_session_tags() {
        let empty = r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned();
        let filled = |length: usize| format!("{empty}{}", " ".repeat(length - empty.len()));
        for (policy, disabled, is_good) in [
            (empty.clone(), true, true),
            (empty.clone(), false, false),
            (filled(2_048), true, true),
            (filled(2_049), true, false),
            ("{}".to_owned(), true, false),
            ("[]".to_owned(), true, false),
            ("allow all".to_owned(), true, false),
        ] {
            let association = Association::new("shop", "cart", ROLE).policy(policy.clone());
            let association = match disabled {
                true => association.disable_session_tags(),
                false => association,
            };
            assert_eq!(check(&association, OWNER).is_ok(), is_good, "{policy}");
        }
    }
}
