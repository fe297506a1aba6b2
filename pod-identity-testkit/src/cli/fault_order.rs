use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use serde::Deserialize;

use crate::{AgentFault, Fault, Stage, When};

/// A fault as it is ordered from outside: at most one that answers, and any that delay or change.
///
/// | member | | |
/// |---|---|---|
/// | `error` | `"ThrottlingException"` | answers with this error of EKS Auth |
/// | `status` | 200–599 | answers with this status |
/// | `malformed` | `true` | answers 200 with JSON that breaks off |
/// | `close`, `reset` | a stage | ends the connection |
/// | `stall` | a stage | waits until the client leaves or the faults are cleared |
/// | `latency_ms` | | waits first |
/// | `expires_in_seconds` | | makes the credentials of a success expire so long from now |
/// | `count` | 1 | for so many requests |
/// | `always` | `true` | for all requests until the faults are cleared |
///
/// A stage is `before_headers`, `in_headers`, `in_body` or `after_body`. EKS Auth knows only
/// `before_headers`, and closes where it is told to reset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultOrder {
    error: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    malformed: bool,
    close: Option<At>,
    reset: Option<At>,
    stall: Option<At>,
    latency_ms: Option<u64>,
    expires_in_seconds: Option<u64>,
    count: Option<usize>,
    #[serde(default)]
    always: bool,
}

/// A [`Stage`] in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    BeforeHeaders,
    InHeaders,
    InBody,
    AfterBody,
}

/// What is wrong with an order, and what would be right.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("cannot read the fault: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no error of EKS Auth is called {0}; expected one such as ThrottlingException")]
    Error(String),
    #[error("{0} is no status that can be answered; expected 200 to 599")]
    Status(u16),
    #[error("error, status, malformed, close and reset exclude each other; order one at a time")]
    TwoAnswers,
    #[error("count and always exclude each other; leave out one")]
    CountAndAlways,
    #[error(
        "there is no fault in it; expected error, status, malformed, close, reset, stall, latency_ms or expires_in_seconds"
    )]
    Nothing,
    #[error("the mock of EKS Auth closes and stalls at before_headers only; order that")]
    Stage,
}

impl FaultOrder {
    /// # Errors
    /// [`OrderError`] when it is not as the table says.
    pub(super) fn parse(json: &[u8]) -> Result<Self, OrderError> {
        let order: Self = serde_json::from_slice(json)?;
        let answers = [
            order.error.is_some(),
            order.status.is_some(),
            order.malformed,
            order.close.is_some(),
            order.reset.is_some(),
        ];
        let waits = order.stall.is_some() || order.latency_ms.is_some();
        match answers.iter().filter(|ordered| **ordered).count() {
            0 if !waits && order.expires_in_seconds.is_none() => Err(OrderError::Nothing),
            0 | 1 if order.always && order.count.is_some() => Err(OrderError::CountAndAlways),
            0 | 1 => Ok(order),
            _ => Err(OrderError::TwoAnswers),
        }
    }

    pub(super) fn when(&self) -> When {
        match self.always {
            true => When::always(),
            false => When::next(self.count.unwrap_or(1)),
        }
    }

    /// The one that answers is the last.
    ///
    /// # Errors
    /// [`OrderError`] when the error or status does not exist.
    pub(super) fn of_agent(&self) -> Result<Vec<AgentFault>, OrderError> {
        let faults = [
            self.latency().map(AgentFault::Latency),
            self.stall.map(|at| AgentFault::Stall(at.into())),
            self.lifetime().map(AgentFault::ExpiresIn),
            self.code()?.map(AgentFault::from),
            self.status()?.map(AgentFault::Status),
            self.malformed.then(AgentFault::malformed),
            self.close.map(|at| AgentFault::Close(at.into())),
            self.reset.map(|at| AgentFault::Reset(at.into())),
        ];
        Ok(faults.into_iter().flatten().collect())
    }

    /// The one that answers is the last.
    ///
    /// # Errors
    /// [`OrderError`] when the error or status does not exist, or another stage is meant than the one
    /// that this mock knows.
    pub(super) fn of_eks_auth(&self) -> Result<Vec<Fault>, OrderError> {
        let mut stages = [self.stall, self.close, self.reset].into_iter().flatten();
        if stages.any(|at| at != At::BeforeHeaders) {
            return Err(OrderError::Stage);
        }
        let faults = [
            self.latency().map(Fault::Latency),
            self.lifetime().map(Fault::ExpiresIn),
            self.stall.map(|_before_headers| Fault::Hang),
            self.code()?.map(Fault::from),
            self.status()?
                .map(|status| Fault::Status(status, String::new())),
            self.malformed
                .then(|| Fault::Malformed("{\"credentials\":".to_owned())),
            self.close
                .or(self.reset)
                .map(|_before_headers| Fault::Reset),
        ];
        Ok(faults.into_iter().flatten().collect())
    }

    fn latency(&self) -> Option<Duration> {
        self.latency_ms.map(Duration::from_millis)
    }

    fn lifetime(&self) -> Option<Duration> {
        self.expires_in_seconds.map(Duration::from_secs)
    }

    fn code(&self) -> Result<Option<ErrorCode>, OrderError> {
        let code = |name: &String| {
            ErrorCode::from_name(name).ok_or_else(|| OrderError::Error(name.clone()))
        };
        self.error.as_ref().map(code).transpose()
    }

    fn status(&self) -> Result<Option<u16>, OrderError> {
        match self.status {
            Some(status) if !(200..600).contains(&status) => Err(OrderError::Status(status)),
            status => Ok(status),
        }
    }
}

impl From<At> for Stage {
    fn from(at: At) -> Self {
        match at {
            At::BeforeHeaders => Self::BeforeHeaders,
            At::InHeaders => Self::InHeaders,
            At::InBody => Self::InBody,
            At::AfterBody => Self::AfterBody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(json: &str) -> Result<String, String> {
        let order = FaultOrder::parse(json.as_bytes()).and_then(|order| order.of_agent());
        let text = order.map(|faults| format!("{faults:?}"));
        text.map_err(|error| error.to_string())
    }

    fn eks_auth(json: &str) -> Result<String, String> {
        let order = FaultOrder::parse(json.as_bytes()).and_then(|order| order.of_eks_auth());
        let text = order.map(|faults| format!("{faults:?}"));
        text.map_err(|error| error.to_string())
    }

    #[test]
    fn what_delays_comes_before_what_answers() {
        let slow = r#"{"status": 503, "latency_ms": 250, "count": 2}"#;
        assert_eq!(agent(slow).unwrap(), "[Latency(250ms), Status(503)]");
        let broken = r#"{"reset": "in_body", "always": true}"#;
        assert_eq!(agent(broken).unwrap(), "[Reset(InBody)]");
        let hung = r#"{"stall": "before_headers"}"#;
        assert_eq!(agent(hung).unwrap(), "[Stall(BeforeHeaders)]");
        assert_eq!(eks_auth(hung).unwrap(), "[Hang]");
        assert!(eks_auth(slow).unwrap().starts_with("[Latency(250ms), Stat"));
    }

    #[test]
    fn an_order_that_cannot_be_filled_says_what_is_wrong() {
        for (json, words) in [
            ("{}", "there is no fault in it"),
            (r#"{"count": 1}"#, "there is no fault in it"),
            (r#"{"sttaus": 503}"#, "unknown field `sttaus`"),
            (r#"{"status": 42}"#, "expected 200 to 599"),
            (r#"{"error": "Nonsense"}"#, "is called Nonsense"),
            (r#"{"status": 500, "malformed": true}"#, "one at a time"),
            (
                r#"{"status": 500, "count": 1, "always": true}"#,
                "leave out one",
            ),
            (r#"{"stall": "sometimes"}"#, "unknown variant `sometimes`"),
        ] {
            let error = agent(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
        let error = eks_auth(r#"{"close": "in_body"}"#).unwrap_err();
        assert!(error.contains("before_headers only"), "{error}");
    }
}
