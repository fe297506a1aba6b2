/// Panics if `text` contains one of `secrets`, or the signature of one that is a JWT.
///
/// Use it for logs, and for the `Debug` and `Display` of errors. The panic message names the secret by its
/// index in the list and does not quote it.
///
/// ```
/// pod_identity_testkit::assert_no_secrets("GET /v1/credentials 200", &["wJalrXUtnFEMI", "e30.e30.c2ln"]);
/// ```
///
/// # Panics
/// If the text contains a secret.
#[track_caller]
pub fn assert_no_secrets(text: &str, secrets: &[&str]) {
    for (index, secret) in secrets.iter().enumerate() {
        let leaked = pieces(secret).find_map(|piece| text.find(piece));
        if let Some(at) = leaked {
            panic!(
                "secret {index} of {} bytes leaked at byte {at} of {}",
                secret.len(),
                text.len()
            );
        }
    }
}

/// Returns the secret, and the signature of a JWT: without the signature a token is worthless, and its claims
/// may be logged.
fn pieces(secret: &str) -> impl Iterator<Item = &str> {
    let signature = match secret.rsplit_once('.') {
        Some((_, signature)) if secret.matches('.').count() == 2 => signature,
        _ => "",
    };
    [secret, signature]
        .into_iter()
        .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaks(text: &str, secrets: &[&str]) -> Option<String> {
        let panic = std::panic::catch_unwind(|| assert_no_secrets(text, secrets)).err()?;
        panic.downcast_ref::<String>().cloned()
    }

    #[test]
    fn a_secret_or_the_signature_of_a_token_is_found_and_not_quoted() {
        for text in [
            "x wJalr y",
            "token aGVhZA.Y2xhaW1z.c2lnbmF0dXJl",
            "signature=c2lnbmF0dXJl",
        ] {
            let message = leaks(text, &["wJalr", "aGVhZA.Y2xhaW1z.c2lnbmF0dXJl"]).unwrap();
            assert!(
                !message.contains("wJalr") && !message.contains("c2ln"),
                "{message}"
            );
        }
    }

    #[test]
    fn claims_are_no_secret_and_an_empty_secret_is_never_found() {
        assert_eq!(
            leaks("aGVhZA.Y2xhaW1z", &["", "aGVhZA.Y2xhaW1z.c2lnbmF0dXJl"]),
            None
        );
    }
}
