use std::fmt;

use http::header::HeaderName;
use serde::Serialize;

use crate::http::answer::{AccessKeyId, Answer, ErrorCodeOf};
use crate::http::stage::Ending;

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The HTTP status; `None` when the connection ended before one was sent.
    pub status: Option<u16>,
    /// The code of an error of an AWS API, such as `AccessDeniedException`.
    pub code: Option<String>,
    /// The access key id of the credentials in the answer.
    pub access_key_id: Option<String>,
    /// How a fault ended the connection.
    pub ending: Option<Ending>,
}

impl Outcome {
    /// The connection ended before there was an answer.
    pub(crate) fn silent(ending: Option<Ending>) -> Self {
        Self {
            status: None,
            code: None,
            access_key_id: None,
            ending,
        }
    }

    pub(crate) fn of(answer: &Answer, ending: Option<Ending>) -> Self {
        let extensions = answer.extensions();
        let in_header = answer.headers().get(HeaderName::from_static(ERROR_TYPE));
        let in_header = in_header.map(|code| String::from_utf8_lossy(code.as_bytes()));
        let in_body = extensions.get::<ErrorCodeOf>();
        Self {
            status: Some(answer.status().as_u16()),
            code: in_body
                .map(|code| code.0.to_owned())
                .or_else(|| in_header.map(String::from)),
            access_key_id: extensions.get::<AccessKeyId>().map(|key| key.0.clone()),
            ending,
        }
    }
}

impl fmt::Display for Outcome {
    /// The parts that it has, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.status.map(|status| status.to_string()));
        words.extend(self.code.clone());
        words.extend(self.access_key_id.clone());
        words.extend(self.ending.map(|ending| match ending {
            Ending::Closed(stage) => format!("closed {stage:?}"),
            Ending::Reset(stage) => format!("reset {stage:?}"),
        }));
        f.write_str(&words.join(" "))
    }
}

const ERROR_TYPE: &str = "x-amzn-errortype";
