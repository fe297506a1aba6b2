use std::time::Duration;

use pod_identity_core::{Credentials, Timestamp};
use serde_json::Value;

use crate::{Defect, Field, TimeFormat};

/// The body of a success, each member of which can get a defect. Keeps their order, which a map of
/// `serde_json` would not.
#[derive(Debug)]
pub(crate) struct SuccessBody(Vec<Member>);

#[derive(Debug)]
struct Member {
    name: String,
    value: Value,
}

impl SuccessBody {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        let text = |text: &str| Some(Value::from(text));
        let members = [
            (Field::AccessKeyId, text(credentials.access_key_id())),
            (
                Field::SecretAccessKey,
                text(credentials.secret_access_key().expose()),
            ),
            (Field::Token, text(credentials.session_token().expose())),
            (Field::AccountId, credentials.account_id().and_then(text)),
            (
                Field::Expiration,
                text(&credentials.expiration().to_string()),
            ),
        ];
        Self(
            members
                .into_iter()
                .filter_map(|(field, value)| {
                    let name = field.name().to_owned();
                    Some(Member {
                        name,
                        value: value?,
                    })
                })
                .collect(),
        )
    }

    pub(crate) fn write_expiration(&mut self, expiration: Timestamp, format: TimeFormat) {
        if let Some(member) = self.member(Field::Expiration.name()) {
            member.value = written(expiration, format);
        }
    }

    pub(crate) fn spoil(&mut self, name: &str, defect: &Defect) {
        if *defect == Defect::Missing {
            self.0.retain(|member| member.name != name);
            return;
        }
        let Some(member) = self.member(name) else {
            return;
        };
        match defect {
            Defect::Missing => {}
            Defect::Null => member.value = Value::Null,
            Defect::Empty => member.value = Value::from(""),
            Defect::WrongType => member.value = Value::from([7]),
            Defect::LowerCase => member.name.make_ascii_lowercase(),
            Defect::UpperCase => member.name.make_ascii_uppercase(),
            Defect::Renamed(name) => member.name.clone_from(name),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|member| format!("{}:{}", Value::from(member.name.as_str()), member.value))
            .collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }

    fn member(&mut self, name: &str) -> Option<&mut Member> {
        self.0.iter_mut().find(|member| member.name == name)
    }
}

fn written(moment: Timestamp, format: TimeFormat) -> Value {
    let whole = Timestamp::from_unix_secs(moment.as_unix_secs());
    let without_zone = |moment: Timestamp| moment.to_string().trim_end_matches('Z').to_owned();
    match format {
        TimeFormat::EpochSeconds => Value::from(whole.as_unix_secs()),
        TimeFormat::Offset => {
            let there = whole + Duration::from_secs(2 * 60 * 60);
            Value::from(format!("{}+02:00", without_zone(there)))
        }
        TimeFormat::Nanoseconds => Value::from(format!("{}.123456789Z", without_zone(whole))),
    }
}

#[cfg(test)]
mod tests {
    use pod_identity_core::{Secret, wire::agent};

    use super::*;

    #[test]
    fn a_body_without_defects_is_what_core_writes() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let expiration = Timestamp::from_unix_millis(1_772_366_400_250);
        let credentials = Credentials::new(
            "ASIAEXAMPLE",
            secret("a/+\"="),
            secret("é\\\u{1}"),
            expiration,
        );
        for credentials in [
            credentials.clone().with_account_id("111122223333"),
            credentials,
        ] {
            assert_eq!(
                SuccessBody::new(&credentials).to_bytes(),
                *agent::encode(&credentials)
            );
        }
    }
}
