use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pod_identity_core::ServiceAccountToken;
use serde_json::Value;
use std::time::Duration;

use super::{Target, is_secret, of_text};

pub(super) const TARGET: Target = Target {
    name: "token",
    cases: 20_000,
    words: &[
        "\"exp\":",
        "\"nbf\":",
        "\"alg\":",
        "\"none\"",
        "\"kid\":",
        "\"crit\":",
        "\"aud\":",
        "RS256",
        ".",
    ],
    check: || of_text(check),
};

/// A token is canonical base64url of a header, claims and a signature, and its claims are those that are in it.
///
/// An input of three lines stands for the token with these parts, so that mutations reach the JSON in it.
fn check(text: &str) {
    let text = match text.split('\n').collect::<Vec<_>>().as_slice() {
        [header, claims, signature] => [header, claims, signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join("."),
        _ => text.to_owned(),
    };
    let token = match ServiceAccountToken::parse(&text) {
        Ok(token) => token,
        Err(error) => return quotes_nothing(&text, &format!("{error} {error:?}")),
    };
    assert_eq!(token.expose(), text);
    let parts: Vec<Vec<u8>> = text
        .split('.')
        .map(|part| {
            URL_SAFE_NO_PAD
                .decode(part)
                .expect("a part must be base64url")
        })
        .collect();
    let again: Vec<String> = parts
        .iter()
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .collect();
    assert_eq!(again.join("."), text, "one token must have one spelling");
    let [header, claims, signature] = parts.as_slice() else {
        panic!("{} parts", parts.len());
    };
    let Ok(header) = serde_json::from_slice::<Value>(header) else {
        return;
    };
    assert!(
        header["alg"]
            .as_str()
            .is_some_and(|it| !it.is_empty() && !it.eq_ignore_ascii_case("none"))
    );
    // Halves of surrogates are only found where they are read.
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else {
        return;
    };
    let seconds = claims["exp"].as_f64().expect("exp must be a number");
    let expires = token.claims().expires_at.as_unix_millis() as f64 / 1000.0;
    assert!(
        expires <= seconds.max(-62_167_219_200.0),
        "{expires} is after {seconds}"
    );
    assert!(token.signed() == (text.rsplit_once('.').expect("dots").0.as_bytes(), signature));

    let end = token.claims().expires_at;
    let audience = token.claims().audience.first().map_or("", String::as_str);
    assert!(
        token.claims().check(end, Duration::MAX, audience).is_err(),
        "valid at its end"
    );
    for name in [
        &token.claims().pod,
        &token.claims().namespace,
        &token.claims().node,
    ]
    .into_iter()
    .flatten()
    {
        assert!(
            name.bytes()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it))
        );
    }
    quotes_nothing(&text, &format!("{token:?}"));
}

fn quotes_nothing(text: &str, printed: &str) {
    let signature = text.rsplit('.').next().unwrap_or_default();
    if !is_secret(signature) || !printed.contains(signature) {
        return;
    }
    // Unless it is a part of the message, which libFuzzer finds: then another signature gets the same message.
    let before = text.strip_suffix(signature).unwrap_or_default();
    let other = format!("{before}{}", "A".repeat(signature.len()));
    let printed = match ServiceAccountToken::parse(&other) {
        Ok(token) => format!("{token:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(printed.contains(signature), "it quotes the signature");
}
