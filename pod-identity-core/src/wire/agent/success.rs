use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::{Credentials, Secret, Timestamp, TimestampError};

/// Writes the body of a success: one JSON object with the keys `AccessKeyId`, `SecretAccessKey`,
/// `Token`, `AccountId`, `Expiration`, in this order, as the official agent does.
///
/// `Expiration` is RFC 3339 and ends in `Z`: the JavaScript and Rust SDKs refuse an offset. `AccountId`
/// is left out when it is not known. The buffer is overwritten when dropped.
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
    // Room for the largest body, so that growing leaves no copies of it behind.
    let room = 256 + body.secret_access_key.expose().len() + body.token.expose().len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *bytes, &body).expect("strings must serialize into memory");
    bytes
}

/// Reads the body of a success.
///
/// As the SDKs do: keys in any case and order; `SessionToken` for `Token` and `ExpiresAt` for
/// `Expiration`; unknown keys ignored; `Expiration` with `Z`, a fraction or an offset.
///
/// # Errors
/// [`DecodeError`] when it is not a JSON object, or lacks a key id, secret, token or expiry.
pub fn decode(body: &[u8]) -> Result<Credentials, DecodeError> {
    let fields: Fields = serde_json::from_slice(body).map_err(|error| DecodeError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    let required = |field: Option<Secret>, name| match field {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(DecodeError::Missing { field: name }),
    };
    let access_key_id = required(fields.access_key_id, "AccessKeyId")?;
    let secret_access_key = required(fields.secret_access_key, "SecretAccessKey")?;
    let session_token = required(fields.token, "Token")?;
    let expiration = required(fields.expiration, "Expiration")?;
    let expiration =
        Timestamp::parse_rfc3339(expiration.expose()).map_err(DecodeError::Expiration)?;
    let credentials = Credentials::new(
        access_key_id.expose(),
        secret_access_key,
        session_token,
        expiration,
    );
    Ok(match fields.account_id {
        Some(account_id) if !account_id.is_empty() => {
            credentials.with_account_id(account_id.expose())
        }
        _ => credentials,
    })
}

/// A success whose body cannot be used. It never quotes the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not a JSON object whose known members are strings.
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
    /// `Expiration` is not a date and time.
    #[error("Expiration is {0}")]
    Expiration(#[source] TimestampError),
}

/// The members of a success, all optional, found whatever their case.
#[derive(Default)]
struct Fields {
    access_key_id: Option<Secret>,
    secret_access_key: Option<Secret>,
    token: Option<Secret>,
    account_id: Option<Secret>,
    expiration: Option<Secret>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyCase;

        impl<'de> Visitor<'de> for AnyCase {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(mut key) = map.next_key::<String>()? {
                    key.make_ascii_lowercase();
                    let field = match key.as_str() {
                        "accesskeyid" => &mut fields.access_key_id,
                        "secretaccesskey" => &mut fields.secret_access_key,
                        "token" | "sessiontoken" => &mut fields.token,
                        "accountid" => &mut fields.account_id,
                        "expiration" | "expiresat" => &mut fields.expiration,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = map.next_value()?;
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(AnyCase)
    }
}

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
        assert_eq!(decode(&encode(&sample())).unwrap(), sample());
    }

    #[test]
    fn keys_are_read_in_any_case_with_their_other_names_and_unknown_ones_ignored() {
        for body in [
            r#"{"accesskeyid":"ASIAEXAMPLE","SECRETACCESSKEY":"secret/+=","SessionToken":"session",
               "AccountID":"123456789012","ExpiresAt":"2026-03-01T14:00:00+02:00","Code":"Success","x":{"y":[1]}}"#,
            r#"{"Expiration":"2026-03-01T12:00:00.000Z","Token":"session","AccountId":"123456789012",
               "SecretAccessKey":"secret/+=","AccessKeyId":"ASIAEXAMPLE"}"#,
        ] {
            assert_eq!(decode(body.as_bytes()).unwrap(), sample(), "{body}");
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
                let error = decode(whole.replace(&member, &broken).as_bytes()).unwrap_err();
                assert_eq!(error, DecodeError::Missing { field: name });
            }
            let error =
                decode(whole.replace(&member, &format!(r#""{name}":7"#)).as_bytes()).unwrap_err();
            assert!(matches!(error, DecodeError::Json { .. }), "{error}");
        }
        for body in [
            "",
            "[]",
            "null",
            "<html>secret</html>",
            "\u{feff}{}",
            "{\"AccessKeyId\":\"secret",
        ] {
            let error = decode(body.as_bytes()).unwrap_err();
            assert!(matches!(error, DecodeError::Json { .. }), "{body}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn an_account_is_optional() {
        let body = r#"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c","AccountId":null,"Expiration":"2026-03-01T12:00:00Z"}"#;
        assert_eq!(decode(body.as_bytes()).unwrap().account_id(), None);
        assert_eq!(
            decode(body.replace("null", "\"\"").as_bytes())
                .unwrap()
                .account_id(),
            None
        );
    }
}
