use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Secret;

/// The known members of an answer. The case of their names does not matter. All are optional, and a member of a
/// wrong type is not an error here.
#[derive(Default)]
pub(super) struct Members {
    pub(super) access_key_id: Member,
    pub(super) secret_access_key: Member,
    pub(super) token: Member,
    pub(super) account_id: Member,
    pub(super) expiration: Member,
    code: Member,
    error_type: Member,
    message: Member,
}

impl Members {
    /// Returns whether there is a code other than `Success`.
    pub(super) fn has_error_code(&self) -> bool {
        self.code
            .non_empty()
            .is_some_and(|code| !code.expose().eq_ignore_ascii_case("Success"))
    }

    /// Returns whether an answer without credentials is an error with a code or a message.
    pub(super) fn has_error(&self) -> bool {
        let members = [&self.code, &self.error_type, &self.message];
        members.iter().any(|member| member.non_empty().is_some())
    }

    pub(super) fn error_code(&self) -> Option<&str> {
        let code = self.code.non_empty().or(self.error_type.non_empty());
        code.map(|code| without_namespace(code.expose()))
    }

    pub(super) fn error_message(&self) -> &str {
        self.message.text().map_or("", Secret::expose)
    }
}

/// Returns `AccessDenied` of `com.amazon.coral.service#AccessDenied:http://…`. Source: the error code rules of
/// Smithy's AWS JSON protocols.
fn without_namespace(code: &str) -> &str {
    let code = code.split_once('#').map_or(code, |(_namespace, code)| code);
    code.split_once(':').map_or(code, |(code, _uri)| code)
}

/// The value of a member. Only text is kept.
#[derive(Default)]
pub(super) enum Member {
    /// The member is absent or null.
    #[default]
    Absent,
    Text(Secret),
    /// The member has another type, which is named with an article.
    Other(&'static str),
}

impl Member {
    pub(super) fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn non_empty(&self) -> Option<&Secret> {
        self.text().filter(|text| !text.is_empty())
    }

    /// Sets the value, unless that would replace a text by none.
    fn set(&mut self, value: Self) {
        if value.non_empty().is_some() || self.non_empty().is_none() {
            *self = value;
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyCase;

        impl<'de> Visitor<'de> for AnyCase {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                let (mut session_token, mut expires_at) = (Member::Absent, Member::Absent);
                while let Some(mut key) = map.next_key::<String>()? {
                    key.make_ascii_lowercase();
                    let member = match key.as_str() {
                        "accesskeyid" => &mut members.access_key_id,
                        "secretaccesskey" => &mut members.secret_access_key,
                        "token" => &mut members.token,
                        "sessiontoken" => &mut session_token,
                        "accountid" => &mut members.account_id,
                        "expiration" => &mut members.expiration,
                        "expiresat" => &mut expires_at,
                        "code" => &mut members.code,
                        "__type" => &mut members.error_type,
                        "message" => &mut members.message,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    member.set(map.next_value()?);
                }
                // The other names count only if the usual one has no text, in whatever order they come.
                for (member, other) in [
                    (&mut members.token, session_token),
                    (&mut members.expiration, expires_at),
                ] {
                    if member.non_empty().is_none() && other.non_empty().is_some() {
                        *member = other;
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(AnyCase)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyType;

        impl<'de> Visitor<'de> for AnyType {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(Secret::from(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Absent)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other("a boolean"))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other("a number"))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other("a number"))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other("a number"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other("an object"))
            }
        }

        deserializer.deserialize_any(AnyType)
    }
}
