use serde::{Deserialize, Serialize};

/// Where in an answer something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// The request has been read, nothing of the answer has been decided or sent.
    BeforeHeaders,
    /// Half of the status line and headers has been sent.
    InHeaders,
    /// The headers and half of the body have been sent; of a chunked body, with a chunk begun.
    InBody,
    /// All has been sent.
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

/// How a connection ends that an answer does not leave open.
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
