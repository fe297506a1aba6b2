use serde::{Deserialize, Serialize};

/// A member of a success of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// `AccessKeyId`.
    AccessKeyId,
    /// `SecretAccessKey`.
    SecretAccessKey,
    /// `Token`.
    Token,
    /// `AccountId`.
    AccountId,
    /// `Expiration`.
    Expiration,
}

impl Field {
    /// All five, in their order.
    pub const ALL: [Self; 5] = [
        Self::AccessKeyId,
        Self::SecretAccessKey,
        Self::Token,
        Self::AccountId,
        Self::Expiration,
    ];

    /// The official name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessKeyId => "AccessKeyId",
            Self::SecretAccessKey => "SecretAccessKey",
            Self::Token => "Token",
            Self::AccountId => "AccountId",
            Self::Expiration => "Expiration",
        }
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        field.name().to_owned()
    }
}

/// What can be wrong, or just other than usual, with a member of a success.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// The member is missing.
    Missing,
    /// The member is `null`.
    Null,
    /// The member is an empty string.
    Empty,
    /// The member is an array.
    WrongType,
    /// The name is in lower case.
    LowerCase,
    /// The name is in upper case.
    UpperCase,
    /// The member has another name, such as `SessionToken` or `ExpiresAt`.
    Renamed(String),
}

/// How an expiration may be written that is not RFC 3339 with whole seconds and a `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeFormat {
    /// A number: seconds since the epoch.
    EpochSeconds,
    /// The same moment at `+02:00`.
    Offset,
    /// The fraction `.123456789`, nine digits long.
    Nanoseconds,
}
