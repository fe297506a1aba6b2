use serde_json::Value;

/// Replaces the values of members that hold a secret by their names, and text that is a token.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match is_secret(name) && !value.is_null() {
                    true => *value = Value::from(REDACTED),
                    false => redact(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(redact),
        Value::String(text) if is_token(text) => REDACTED.clone_into(text),
        _ => {}
    }
}

/// Returns the value of a parameter, unless it is a secret.
pub(crate) fn parameter(name: &str, value: &str) -> String {
    match is_secret(name) || is_token(value) {
        true => REDACTED.to_owned(),
        false => value.to_owned(),
    }
}

/// Returns the request's target with its secrets redacted, such as those of a presigned one, or a token where a name
/// belongs.
pub(crate) fn target(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let segments = path.split('/').map(|segment| match is_token(segment) {
        true => REDACTED,
        false => segment,
    });
    let path = segments.collect::<Vec<_>>().join("/");
    let Some(query) = query else {
        return path;
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => format!("{name}={}", parameter(name, value)),
        None => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// By the names that AWS and Kubernetes have for them, however they are written.
fn is_secret(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRETS.contains(&name.as_str())
}

/// Whether it has the shape of a JWT: no other parameter begins so.
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.matches('.').count() == 2
}

const REDACTED: &str = "redacted";
const SECRETS: [&str; 9] = [
    "password",
    "samlassertion",
    "secretaccesskey",
    "sessiontoken",
    "token",
    "tokencode",
    "webidentitytoken",
    "xamzsecuritytoken",
    "xamzsignature",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_secret_by_its_name_or_its_shape_is_redacted_and_nothing_else() {
        let mut body = json!({
            "token": "t", "clusterName": "prod", "nextToken": "page-2",
            "tags": [{"session-token": "s"}, "eyJhbGciOiJub25lIn0.e30.x"],
        });
        redact(&mut body);
        assert_eq!(
            body,
            json!({
                "token": "redacted", "clusterName": "prod", "nextToken": "page-2",
                "tags": [{"session-token": "redacted"}, "redacted"],
            })
        );
        assert_eq!(
            target("/?Action=GetCallerIdentity&X-Amz-Signature=abc&flag"),
            "/?Action=GetCallerIdentity&X-Amz-Signature=redacted&flag"
        );
        assert_eq!(target("/clusters/eyJ9.e30.x/y"), "/clusters/redacted/y");
    }
}
