use serde::Deserialize;

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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// It is not there.
    Missing,
    /// It is `null`.
    Null,
    /// It is an empty string.
    Empty,
    /// It is an array.
    WrongType,
    /// Its name is in lower case.
    LowerCase,
    /// Its name is in upper case.
    UpperCase,
    /// It has another name, such as `SessionToken` or `ExpiresAt`.
    Renamed(String),
}

/// How an expiration may be written that is not RFC 3339 with whole seconds and a `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeFormat {
    /// A number: seconds since the epoch.
    EpochSeconds,
    /// The same moment at `+02:00`.
    Offset,
    /// With nine digits after the point, which are `.123456789`.
    Nanoseconds,
}
