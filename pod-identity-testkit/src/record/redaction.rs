use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Replaces the values of members that hold a secret by their names, and the tokens in all text.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let redacted = std::mem::take(members)
                .into_iter()
                .map(|(name, mut value)| {
                    match is_secret(&name) && !value.is_null() {
                        true => value = Value::from(REDACTED),
                        false => redact(&mut value),
                    }
                    (text(&name), value)
                });
            *members = redacted.collect::<Map<_, _>>();
        }
        Value::Array(elements) => elements.iter_mut().for_each(redact),
        Value::String(string) => *string = text(string),
        _ => {}
    }
}

/// Returns the text with the tokens in it redacted, also those that are percent-encoded or follow other letters.
pub(crate) fn text(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_in_word(letter));
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        match has_token(word) {
            true => {
                kept.push_str(REDACTED);
                // The end of a sentence.
                kept.extend(word.ends_with('.').then_some('.'));
            }
            false => kept.push_str(word),
        }
        let mut behind = behind.chars();
        kept.extend(behind.next());
        rest = behind.as_str();
    }
    kept
}

/// Returns the value of a parameter with its secrets redacted.
pub(crate) fn parameter(name: &str, value: &str) -> String {
    match is_secret(name) {
        true => REDACTED.to_owned(),
        false => text(value),
    }
}

/// Whether a header holds a secret, by its name or by its value.
pub(crate) fn is_secret_header(name: &str, value: &[u8]) -> bool {
    let value = String::from_utf8_lossy(value);
    is_secret(name) || text(&value) != value
}

/// Returns the request's target with its secrets redacted, such as those of a presigned one, or a token where a name
/// belongs.
pub(crate) fn target(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = text(path);
    let Some(query) = query else {
        return path;
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => {
            let decoded = percent_decode_str(name).decode_utf8_lossy();
            format!("{}={}", text(name), parameter(&decoded, value))
        }
        None => text(pair),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// By the names that AWS and Kubernetes have for them, however they are written.
fn is_secret(name: &str) -> bool {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRETS.contains(&name.as_str())
}

/// What a token can be written with, also percent-encoded.
fn is_in_word(letter: char) -> bool {
    is_of_token(letter) || letter == '%'
}

fn is_of_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.".contains(letter)
}

/// Whether something in it has the shape of a JWT: no name begins so.
fn has_token(word: &str) -> bool {
    let mut decoded = word.to_owned();
    for _ in 0..=MOST_ENCODINGS {
        let mut pieces = decoded.split(|letter| !is_of_token(letter));
        if pieces.any(ends_as_a_token) {
            return true;
        }
        if !decoded.contains('%') {
            return false;
        }
        decoded = percent_decode_str(&decoded)
            .decode_utf8_lossy()
            .into_owned();
    }
    false
}

fn ends_as_a_token(piece: &str) -> bool {
    let parts = piece.split_once("eyJ").map(|(_, parts)| parts);
    parts.is_some_and(|parts| parts.matches('.').count() >= 2)
}

/// A client encodes once, and a proxy perhaps once more.
const MOST_ENCODINGS: usize = 3;

/// What is written in the place of a secret.
pub(crate) const REDACTED: &str = "redacted";
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

    #[test]
    fn a_token_is_redacted_wherever_it_is_in_a_target() {
        for (given, redacted) in [
            ("/x?eyJ9.e30.x", "/x?redacted"),
            ("/x?a&eyJ9.e30.x&b=c", "/x?a&redacted&b=c"),
            ("/x?eyJ9.e30.x=", "/x?redacted="),
            ("/x?a=eyJ9.e30.x", "/x?a=redacted"),
            ("/x?a=Bearer+eyJ9.e30.x", "/x?a=Bearer+redacted"),
            ("/x?%74oken=a", "/x?%74oken=redacted"),
            ("/Bearer%20eyJ9.e30.x/y", "/redacted/y"),
            ("/Bearer%2520eyJ9%252Ee30%252Ex", "/redacted"),
            ("/%65yJ9%2ee30.x", "/redacted"),
            ("/a-eyJ9.e30.x", "/redacted"),
            ("/a;eyJ9.e30.x;b", "/a;redacted;b"),
            ("/eyJ9.e30.x,eyJ9.e30.x", "/redacted,redacted"),
            ("http://h:80/eyJ9.e30.x", "http://h:80/redacted"),
            ("/é/eyJ9.e30.x", "/é/redacted"),
            (
                "/v1.2.3/eyJ/heyJo.example?%zz&a=%",
                "/v1.2.3/eyJ/heyJo.example?%zz&a=%",
            ),
            ("", ""),
        ] {
            assert_eq!(target(given), redacted, "{given}");
        }
    }

    #[test]
    fn a_token_is_redacted_in_a_sentence_and_in_the_name_of_a_member() {
        assert_eq!(
            text("No \"eyJ9.e30.x\" found for name: eyJ9.e30.x."),
            "No \"redacted\" found for name: redacted."
        );
        let mut body = json!({"eyJ9.e30.x": "Bearer eyJ9.e30.x", "token": null});
        redact(&mut body);
        assert_eq!(body, json!({"redacted": "Bearer redacted", "token": null}));
    }

    #[test]
    fn a_header_is_secret_by_its_name_or_a_token_in_its_value() {
        for (name, value, is) in [
            ("x-amz-security-token", "s", true),
            ("x-note", "a eyJ9.e30.x", true),
            ("x-note", "a b c", false),
            ("host", "169.254.170.23", false),
        ] {
            assert_eq!(is_secret_header(name, value.as_bytes()), is, "{name}");
        }
    }
}
