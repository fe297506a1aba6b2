use serde::Serialize;
use zeroize::Zeroizing;

use crate::wire::agent::ErrorResponse;
use crate::wire::agent::members::{Member, Members};
use crate::{Credentials, Secret, Timestamp, TimestampError};

/// Writes the body of a success: one JSON object with the keys `AccessKeyId`, `SecretAccessKey`,
/// `Token`, `AccountId`, `Expiration`, in this order, as the official agent does.
///
/// `Expiration` is RFC 3339 and ends in `Z`, because the JavaScript and Rust SDKs refuse an offset. `AccountId` is
/// omitted if it is not known. The buffer is overwritten when dropped.
pub fn encode(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body<'a> {
        access_key_id: &'a str,
        secret_access_key: &'a Secret,
        token: &'a Secret,
        #[serde(skip_serializing_if = "Option::is_none")]
        account_id: Option<&'a str>,
        expiration: Timestamp,
    }
    let body = Body {
        access_key_id: credentials.access_key_id(),
        secret_access_key: credentials.secret_access_key(),
        token: credentials.session_token(),
        account_id: credentials.account_id(),
        expiration: credentials.expiration(),
    };
    // A buffer that grows leaves copies behind, so its capacity is enough for the largest body.
    let room = 256 + body.secret_access_key.expose().len() + body.token.expose().len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *bytes, &body).expect("strings must serialize into memory");
    // The agent keeps the body for hours, so unused capacity is dropped. Shrinking the buffer could leave a copy
    // behind.
    Zeroizing::new(bytes.to_vec())
}

/// Reads the body of an answer with the status 200.
///
/// It is as tolerant as the AWS SDKs:
/// - Keys may be in any case and order. Unknown keys are ignored, and so is an `AccountId` that is not a string.
/// - `SessionToken` is read if `Token` has no text, and `ExpiresAt` if `Expiration` has none.
/// - `Expiration` may have `Z`, a fraction or an offset.
/// - An empty `Token` is accepted for long-lived keys, which have none. A key id that begins with `ASIA` needs a
///   token.
///
/// `sent` is the authorization token of the request, which an error message may echo.
///
/// # Errors
/// [`DecodeError`] if the body is not a JSON object, if the key id, secret, token or expiration is missing, if the key
/// id, secret or token has a character other than visible ASCII, or if the object is an error. It is an error if it
/// has a `Code` other than `Success`, or a `__type` or `Message` and no credentials.
pub fn decode(body: &[u8], sent: Option<&Secret>) -> Result<Credentials, DecodeError> {
    let members: Members = serde_json::from_slice(body).map_err(|error| DecodeError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let refused = || DecodeError::Refused(ErrorResponse::of_members(200, &members, sent));
    if members.has_error_code() {
        return Err(refused());
    }
    match credentials(&members) {
        Err(_incomplete) if members.has_error() => Err(refused()),
        result => result,
    }
}

fn credentials(members: &Members) -> Result<Credentials, DecodeError> {
    let access_key_id = key(&members.access_key_id, "AccessKeyId")?;
    let secret_access_key = key(&members.secret_access_key, "SecretAccessKey")?;
    let session_token = match members.token.text() {
        Some(empty) if empty.is_empty() && !access_key_id.expose().starts_with(TEMPORARY) => empty,
        _ => key(&members.token, "Token")?,
    };
    let expiration = required(&members.expiration, "Expiration")?;
    let expiration =
        Timestamp::parse_rfc3339(expiration.expose()).map_err(DecodeError::Expiration)?;
    let credentials = Credentials::new(
        access_key_id.expose(),
        secret_access_key.clone(),
        session_token.clone(),
        expiration,
    );
    Ok(match members.account_id.text() {
        Some(account_id) if !account_id.is_empty() => {
            credentials.with_account_id(account_id.expose())
        }
        _ => credentials,
    })
}

/// Returns a member that requests are signed with. With another character in the key id, such as a pasted line end,
/// the signer of the AWS SDK for Rust panics.
fn key<'a>(member: &'a Member, field: &'static str) -> Result<&'a Secret, DecodeError> {
    let text = required(member, field)?;
    // Without an early end it takes a few instructions for 16 bytes, rather than six for each.
    let bytes = text.expose().bytes();
    if bytes.fold(true, |is_key, byte| is_key & byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(DecodeError::NotAKey { field })
    }
}

fn required<'a>(member: &'a Member, field: &'static str) -> Result<&'a Secret, DecodeError> {
    match member {
        Member::Text(text) if !text.is_empty() => Ok(text),
        Member::Absent | Member::Text(_) => Err(DecodeError::Missing { field }),
        Member::Other(found) => Err(DecodeError::WrongType { field, found }),
    }
}

/// The error for a body that cannot be used. It does not quote the body, except for the message of an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The body is not a JSON object.
    #[error("the body is not the expected JSON object (line {line}, column {column})")]
    Json {
        /// Where parsing stopped, from 1.
        line: usize,
        /// Where parsing stopped, from 1.
        column: usize,
    },
    /// A member is absent, null or empty.
    #[error("{field} is missing or empty")]
    Missing {
        /// The member's name.
        field: &'static str,
    },
    /// A member is not a string.
    #[error("{field} is {found}, not a text")]
    WrongType {
        /// The member's name.
        field: &'static str,
        /// The type in its place, with an article: `a number`.
        found: &'static str,
    },
    /// The key id, the secret or the token has a character other than visible ASCII, such as a line end or a space.
    #[error("{field} has a line end, a space or another character that no key has")]
    NotAKey {
        /// The member's name.
        field: &'static str,
    },
    /// `Expiration` is not a date and time.
    #[error("Expiration is {0}")]
    Expiration(TimestampError),
    /// The body is an error: the server refused, although the status is 200.
    #[error("{0}")]
    Refused(ErrorResponse),
}

/// The prefix of the key ids of temporary credentials. Source: "Understanding unique ID prefixes" in the
/// IAM user guide.
const TEMPORARY: &str = "ASIA";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Credentials {
        Credentials::new(
            "ASIAEXAMPLE",
            Secret::from("secret/+=".to_owned()),
            Secret::from("session".to_owned()),
            Timestamp::from_unix_secs(1_772_366_400),
        )
        .with_account_id("123456789012")
    }

    #[test]
    fn the_five_keys_are_written_in_the_official_order() {
        assert_eq!(
            std::str::from_utf8(&encode(&sample())).unwrap(),
            concat!(
                r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"secret/+=","Token":"session","#,
                r#""AccountId":"123456789012","Expiration":"2026-03-01T12:00:00Z"}"#
            )
        );
        assert_eq!(decode(&encode(&sample()), None).unwrap(), sample());
    }

    #[test]
    fn keys_are_read_in_any_case_with_their_other_names_and_unknown_ones_ignored() {
        for body in [
            r#"{"accesskeyid":"ASIAEXAMPLE","SECRETACCESSKEY":"secret/+=","SessionToken":"session",
               "AccountID":"123456789012","ExpiresAt":"2026-03-01T14:00:00+02:00","Code":"Success","x":{"y":[1]}}"#,
            r#"{"Expiration":"2026-03-01T12:00:00.000Z","Token":"session","AccountId":"123456789012",
               "SecretAccessKey":"secret/+=","AccessKeyId":"ASIAEXAMPLE"}"#,
        ] {
            assert_eq!(decode(body.as_bytes(), None).unwrap(), sample(), "{body}");
        }
    }

    #[test]
    fn a_body_that_lacks_something_names_it_and_is_never_quoted() {
        let whole = String::from_utf8(encode(&sample()).to_vec()).unwrap();
        for (name, value) in [
            ("AccessKeyId", "ASIAEXAMPLE"),
            ("SecretAccessKey", "secret/+="),
            ("Token", "session"),
            ("Expiration", "2026-03-01T12:00:00Z"),
        ] {
            let member = format!(r#""{name}":"{value}""#);
            for broken in [
                format!(r#""{name}":null"#),
                format!(r#""{name}":"""#),
                r#""Other":"x""#.into(),
            ] {
                let error = decode(whole.replace(&member, &broken).as_bytes(), None).unwrap_err();
                assert_eq!(error, DecodeError::Missing { field: name });
            }
            for (value, found) in [
                ("7", "a number"),
                ("-7", "a number"),
                ("0.7", "a number"),
                ("true", "a boolean"),
                ("[7]", "an array"),
                (r#"{"a":7}"#, "an object"),
            ] {
                let broken = format!(r#""{name}":{value}"#);
                let error = decode(whole.replace(&member, &broken).as_bytes(), None).unwrap_err();
                assert_eq!(error.to_string(), format!("{name} is {found}, not a text"));
            }
        }
        for body in [
            "",
            "[]",
            "null",
            "<html>secret</html>",
            "\u{feff}{}",
            "{\"AccessKeyId\":\"secret",
        ] {
            let error = decode(body.as_bytes(), None).unwrap_err();
            assert!(matches!(error, DecodeError::Json { .. }), "{body}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_key_has_visible_ascii_only() {
        let whole = String::from_utf8(encode(&sample()).to_vec()).unwrap();
        for (field, value) in [
            ("AccessKeyId", "ASIAEXAMPLE"),
            ("SecretAccessKey", "secret/+="),
            ("Token", "session"),
        ] {
            for character in [r"\n", r"\u0000", " ", r"\u007f", "\u{e9}"] {
                let broken = whole.replace(value, &format!("{value}{character}"));
                let error = decode(broken.as_bytes(), None).unwrap_err();
                assert_eq!(error, DecodeError::NotAKey { field }, "{character:?}");
            }
        }
    }

    #[test]
    fn an_account_is_optional() {
        let body = r#"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c","AccountId":null,"Expiration":"2026-03-01T12:00:00Z"}"#;
        assert_eq!(decode(body.as_bytes(), None).unwrap().account_id(), None);
        assert_eq!(
            decode(body.replace("null", "\"\"").as_bytes(), None)
                .unwrap()
                .account_id(),
            None
        );
    }

    #[test]
    fn an_account_of_a_wrong_type_is_ignored() {
        let body = r#"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c","AccountId":VALUE,"Expiration":"2026-03-01T12:00:00Z"}"#;
        for value in ["111122223333", "{\"id\":[1]}", "[]", "true"] {
            let decoded = decode(body.replace("VALUE", value).as_bytes(), None).unwrap();
            assert_eq!(decoded.account_id(), None, "{value}");
        }
    }

    #[test]
    fn the_other_name_of_a_member_never_overwrites_its_text() {
        let whole = String::from_utf8(encode(&sample()).to_vec()).unwrap();
        let without_end = whole.strip_suffix('}').unwrap();
        let without_start = whole.strip_prefix('{').unwrap();
        for other in [
            r#""SessionToken":null,"ExpiresAt":null,"AccountID":null"#,
            r#""SessionToken":7,"ExpiresAt":1772366400,"AccountID":7"#,
            r#""SessionToken":"","ExpiresAt":"","AccountID":"""#,
            r#""SessionToken":"other","ExpiresAt":"2030-01-01T00:00:00Z""#,
        ] {
            for body in [
                format!("{without_end},{other}}}"),
                format!("{{{other},{without_start}"),
            ] {
                assert_eq!(decode(body.as_bytes(), None).unwrap(), sample(), "{body}");
            }
        }
        let renamed = whole.replace("\"Token\":", "\"Token\":null,\"SessionToken\":");
        assert_eq!(decode(renamed.as_bytes(), None).unwrap(), sample());
    }

    #[test]
    fn an_empty_token_is_accepted_for_a_long_lived_key_only() {
        let body = |key| {
            format!(
                r#"{{"AccessKeyId":"{key}","SecretAccessKey":"b","Token":"","Expiration":"2026-03-01T12:00:00Z"}}"#
            )
        };
        let decoded = decode(body("AKIAEXAMPLE").as_bytes(), None).unwrap();
        assert!(decoded.session_token().is_empty());
        let error = decode(body("ASIAEXAMPLE").as_bytes(), None).unwrap_err();
        assert_eq!(error, DecodeError::Missing { field: "Token" });
    }

    #[test]
    fn an_error_in_a_success_is_that_error_with_its_message() {
        let refused = |body: &str| match decode(body.as_bytes(), None).unwrap_err() {
            DecodeError::Refused(error) => error,
            error => panic!("{body}: {error}"),
        };
        for body in [
            r#"{"Code":"AccessDenied","Message":"no role"}"#,
            r#"{"code":"AccessDenied","message":"no role"}"#,
            r#"{"__type":"AccessDenied","message":"no role"}"#,
            r#"{"__type":"com.amazon.coral.service#AccessDenied:http://x/","Message":"no role"}"#,
        ] {
            let error = refused(body);
            assert_eq!(
                error.to_string(),
                "HTTP 200: AccessDenied: no role",
                "{body}"
            );
            assert!(!error.class().is_retryable());
        }
        assert_eq!(
            refused(r#"{"message":"no role"}"#).to_string(),
            "HTTP 200: no role"
        );

        let whole = String::from_utf8(encode(&sample()).to_vec()).unwrap();
        let with = |member: &str| whole.replace('{', &format!("{{{member},"));
        assert_eq!(
            refused(&with(r#""Code":"Failed""#)).code.as_deref(),
            Some("Failed")
        );
        for harmless in [
            r#""Code":"Success""#,
            r#""code":"success","LastUpdated":"x""#,
            r#""Code":null"#,
            r#""Code":200"#,
            r#""message":"welcome""#,
        ] {
            let decoded = decode(with(harmless).as_bytes(), None);
            assert_eq!(decoded.unwrap(), sample(), "{harmless}");
        }
    }

    #[test]
    fn an_error_in_a_success_never_repeats_the_sent_token() {
        let sent = Secret::from("aaa.bbb.ccc".to_owned());
        let body = br#"{"Code":"Bad","Message":"what is aaa.bbb.ccc?"}"#;
        let error = decode(body, Some(&sent)).unwrap_err();
        assert_eq!(error.to_string(), "HTTP 200: Bad: what is <token>?");
    }
}
