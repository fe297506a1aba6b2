use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Panics if `text` contains one of `secrets`, or the signature of one that is a JWT.
///
/// One of eight bytes or more is also found in base64, of either alphabet and within a longer text, in hexadecimal,
/// percent-encoded, and as a list of bytes, which is how `Debug` prints them.
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
        let leaked = pieces(secret)
            .flat_map(forms)
            .find_map(|(form, piece)| text.find(&piece).map(|at| (form, at)));
        if let Some((form, at)) = leaked {
            panic!(
                "secret {index} of {} bytes leaked {form} at byte {at} of {}",
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

/// How a text can be written, and its name.
fn forms(piece: &str) -> Vec<(&'static str, String)> {
    let mut forms = vec![("as it is", piece.to_owned())];
    // What is encoded of a shorter one occurs by chance.
    if piece.len() < 8 {
        return forms;
    }
    for shift in 0..3 {
        forms.push(("in base64", within(&STANDARD_NO_PAD, shift, piece)));
        forms.push(("in base64", within(&URL_SAFE_NO_PAD, shift, piece)));
    }
    let hex: String = piece.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.push(("in hexadecimal", hex.to_ascii_uppercase()));
    forms.push(("in hexadecimal", hex));
    let percent = utf8_percent_encode(piece, NON_ALPHANUMERIC).to_string();
    forms.push(("percent-encoded", percent));
    let form = form_urlencoded::byte_serialize(piece.as_bytes()).collect();
    forms.push(("percent-encoded", form));
    let bytes = format!("{:?}", piece.as_bytes());
    forms.push(("as bytes", bytes.trim_matches(['[', ']']).to_owned()));
    forms
}

/// Returns the part of the base64 of a longer text that does not depend on what is around this piece, which begins
/// `shift` bytes after a group of three.
fn within(engine: &impl Engine, shift: usize, piece: &str) -> String {
    let text = [&vec![0; shift], piece.as_bytes()].concat();
    let whole = text.len() * 8 / 6;
    let begin = (shift * 8).div_ceil(6);
    let encoded = engine.encode(&text);
    encoded.get(begin..whole).unwrap_or_default().to_owned()
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
    fn a_secret_is_found_in_every_form() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY";
        let longer = format!("a{secret}z");
        for text in [
            STANDARD_NO_PAD.encode(&longer),
            STANDARD_NO_PAD.encode(format!("Bearer {longer}")),
            URL_SAFE_NO_PAD.encode(format!("no{longer}")),
            "token=wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCY&x".to_owned(),
            "774A616C725855746E46454D492F4B374D44454E472B62507852666943590A".to_owned(),
            format!("{:?}", longer.as_bytes()),
        ] {
            assert!(leaks(&text, &[secret]).is_some(), "{text}");
        }
        assert_eq!(leaks("nothing of the kind", &[secret]), None);
    }

    #[test]
    fn claims_are_no_secret_and_an_empty_secret_is_never_found() {
        assert_eq!(
            leaks("aGVhZA.Y2xhaW1z", &["", "aGVhZA.Y2xhaW1z.c2lnbmF0dXJl"]),
            None
        );
    }
}
