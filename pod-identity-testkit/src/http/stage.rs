use serde::{Deserialize, Serialize};

/// The stage of an answer at which a fault takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// The request has been read. The answer has been neither decided nor sent.
    BeforeHeaders,
    /// Half of the status line and headers has been sent.
    InHeaders,
    /// The headers and half of the body have been sent; of a chunked body, with a chunk begun.
    InBody,
    /// The whole answer has been sent.
    AfterBody,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [
        Self::BeforeHeaders,
        Self::InHeaders,
        Self::InBody,
        Self::AfterBody,
    ];
}

/// How a fault ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The connection was closed: a FIN.
    #[serde(rename = "close")]
    Closed(Stage),
    /// The connection was reset: a RST.
    Reset(Stage),
}

impl Ending {
    pub(crate) const fn stage(self) -> Stage {
        match self {
            Self::Closed(stage) | Self::Reset(stage) => stage,
        }
    }
}
