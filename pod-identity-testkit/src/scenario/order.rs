use std::time::Duration;

use pod_identity_core::Timestamp;
use pod_identity_core::wire::eks_auth::ErrorCode;
use serde::{Deserialize, Deserializer};

use super::Queues;
use super::fault_words::{FaultWords, TokenAge};
use super::table;
use crate::fault::queue::Injected;
use crate::http::gates::Gates;
use crate::scenario::timeline::{Deed, Step};
use crate::{Gate, Operation, ServiceError, Stage, When};

/// A fault that has been understood: what, for which requests, and when.
#[derive(Debug, Clone)]
pub(crate) struct Order<F> {
    what: What<F>,
    operation: Option<Operation>,
    requests: Requests,
    pod: Option<String>,
    token_age: Option<usize>,
    after: Duration,
    lasting: Option<Duration>,
    /// The name of a gate.
    until: Option<String>,
}

#[derive(Debug, Clone)]
enum What<F> {
    /// `hold`: where requests wait at the gate of `until`.
    Faults { hold: Option<Stage>, others: Vec<F> },
    /// The port is closed for so long.
    Refuse(Duration),
}

#[derive(Debug, Clone, Copy)]
enum Requests {
    Next(usize),
    Nth(usize),
    Always,
}

/// Faults that can be ordered in words.
pub(crate) trait Orderable: Injected + Send + Sync + 'static {
    /// In the order in which a request meets them. The one that answers is the last.
    ///
    /// # Errors
    /// [`OrderError`] when this mock does not know a member, or there is no such value.
    fn of(words: &FaultWords) -> Result<Vec<Self>, OrderError>;

    fn hold(stage: Stage, gate: Gate) -> Self;
}

/// What is wrong with an order, and what would be right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("no error of EKS Auth is called {0}; expected one such as ThrottlingException")]
    Error(String),
    #[error(
        "no error of EKS and STS is called {0}; expected one such as ResourceLimitExceededException"
    )]
    ApiError(String),
    #[error("there is no operation {0}; expected one such as CreatePodIdentityAssociation")]
    Operation(String),
    #[error("{0} is no status that can be answered; expected 200 to 599")]
    Status(u16),
    #[error("a redirect has a status from 300 to 399, not {0}")]
    Redirect(u16),
    #[error("{0} cannot be sent in a header; expected visible ASCII, and a name without spaces")]
    Header(String),
    #[error("{name} is no member of EKS Auth's success; expected one of {known}")]
    Member { name: String, known: String },
    #[error("{0} exclude each other; order one at a time")]
    TwoAnswers(String),
    #[error("{0} exclude each other; leave out one")]
    Both(&'static str),
    #[error("{0} goes with {1} only; add that, or leave out {0}")]
    Needs(&'static str, &'static str),
    #[error("{0} counts from 1")]
    Zero(&'static str),
    #[error("retry_after of the agent is in whole seconds; expected one such as \"2s\"")]
    PartsOfSeconds,
    #[error("refuse is for everybody who connects; beside it there can be after only")]
    Refuse,
    #[error(
        "there is no fault in it; expected error, status, body, malformed, empty, html, close, reset, \
         a change such as expires_in, a delay such as latency or stall, or refuse"
    )]
    Nothing,
    #[error(
        "the mock of EKS Auth closes, resets, stalls and holds at before_headers only; order that"
    )]
    Stage,
    #[error("{0} is a fault of the mock agent only; the mock of EKS Auth does not know it")]
    AgentOnly(&'static str),
    #[error(
        "without is a fault of the mock of EKS Auth only; say fields = {{ … = \"missing\" }} to the agent"
    )]
    EksAuthOnly,
    #[error("operation goes with the mock of EKS Auth only; the agent has but one")]
    OneOperation,
    #[error("retry_after is a header of EKS Auth; other operations do not have it")]
    RetryAfter,
}

impl<F: Orderable> TryFrom<FaultWords> for Order<F> {
    type Error = OrderError;

    fn try_from(words: FaultWords) -> Result<Self, OrderError> {
        Ok(Self {
            what: what(&words)?,
            operation: words.operation()?,
            requests: requests(&words)?,
            pod: words.pod,
            token_age: words.token.map(age),
            after: words.after.map(|span| span.0).unwrap_or_default(),
            lasting: words.lasting.map(|span| span.0),
            until: words.until,
        })
    }
}

impl<F: Orderable> Order<F> {
    /// Injects the faults that are for requests, from `from` on by the mock's clock, and returns what is
    /// to be done for the others.
    pub(crate) fn inject(&self, queues: &impl Queues<F>, from: Timestamp) -> Vec<Step> {
        match &self.what {
            What::Faults { hold, others } => {
                let (gates, queue) = (queues.gates(), queues.of(self.operation));
                let when = self.when(gates);
                let gate = self.until.as_deref().map(|name| gates.named(name));
                let held = hold.zip(gate).map(|(stage, gate)| F::hold(stage, gate));
                for fault in held.into_iter().chain(others.iter().cloned()) {
                    queue.push(when.clone(), fault, from);
                }
                Vec::new()
            }
            What::Refuse(time) => {
                let begins = from + self.after;
                let step = |at, deed| Step { at, deed };
                vec![
                    step(begins, Deed::Refuse),
                    step(begins + *time, Deed::Listen),
                ]
            }
        }
    }

    /// The name of the gate that it waits for.
    pub(super) fn gate(&self) -> Option<&str> {
        self.until.as_deref()
    }

    fn when(&self, gates: &Gates) -> When {
        let mut when = match self.requests {
            Requests::Next(count) => When::next(count),
            Requests::Nth(n) => When::nth(n),
            Requests::Always => When::always(),
        };
        when = when.after(self.after);
        if let Some(pod) = &self.pod {
            when = when.pod(pod);
        }
        if let Some(age) = self.token_age {
            when = when.token_age(age);
        }
        if let Some(time) = self.lasting {
            when = when.lasting(time);
        }
        if let Some(gate) = &self.until {
            when = when.until(&gates.named(gate));
        }
        when
    }
}

impl<'de, F: Orderable> Deserialize<'de> for Order<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<FaultWords, _, _>(deserializer)
    }
}

fn what<F: Orderable>(words: &FaultWords) -> Result<What<F>, OrderError> {
    let answers = words.answers();
    if answers.len() > 1 {
        return Err(OrderError::TwoAnswers(answers.join(" and ")));
    }
    match (words.refuse, words.is_for_requests()) {
        (None, false) => Err(OrderError::Nothing),
        (Some(time), false) if is_for_everybody(words) => Ok(What::Refuse(time.0)),
        (Some(_), _) => Err(OrderError::Refuse),
        (None, true) if words.hold.is_some() && words.until.is_none() => {
            Err(OrderError::Needs("hold", "until"))
        }
        (None, true) => Ok(What::Faults {
            hold: words.hold,
            others: F::of(words)?,
        }),
    }
}

fn is_for_everybody(words: &FaultWords) -> bool {
    words.count.is_none()
        && words.nth.is_none()
        && words.operation.is_none()
        && words.pod.is_none()
        && words.token.is_none()
        && words.lasting.is_none()
        && words.until.is_none()
        && !words.always
}

/// One request, unless more are meant; with an end of its own, all until then.
fn requests(words: &FaultWords) -> Result<Requests, OrderError> {
    let has_an_end = words.lasting.is_some() || words.until.is_some();
    match (words.count, words.nth, words.always) {
        (Some(0), ..) => Err(OrderError::Zero("count")),
        (_, Some(0), _) => Err(OrderError::Zero("nth")),
        (Some(count), None, false) => Ok(Requests::Next(count)),
        (None, Some(n), false) => Ok(Requests::Nth(n)),
        (None, None, always) if always || has_an_end => Ok(Requests::Always),
        (None, None, _) => Ok(Requests::Next(1)),
        _ => Err(OrderError::Both("count, nth and always")),
    }
}

fn age(token: TokenAge) -> usize {
    match token {
        TokenAge::Current => 0,
        TokenAge::Previous => 1,
    }
}

impl FaultWords {
    /// The error that is to be answered, with its message.
    pub(super) fn service_error(&self) -> Result<Option<ServiceError>, OrderError> {
        let Some(name) = &self.error else {
            return match self.message {
                Some(_) => Err(OrderError::Needs("message", "error")),
                None => Ok(None),
            };
        };
        let code = ErrorCode::from_name(name).ok_or_else(|| OrderError::Error(name.clone()))?;
        let error = ServiceError::new(code);
        Ok(Some(match &self.message {
            Some(message) => error.message(message),
            None => error,
        }))
    }

    /// The operation that it is for, unless that is EKS Auth's.
    pub(super) fn operation(&self) -> Result<Option<Operation>, OrderError> {
        let named = self.operation.as_ref().map(|name| {
            let operation = Operation::from_name(name);
            operation.ok_or_else(|| OrderError::Operation(name.clone()))
        });
        let operation = named.transpose()?;
        Ok(operation.filter(|operation| *operation != Operation::AssumeRoleForPodIdentity))
    }

    /// The status that is to be answered, or goes with what is.
    pub(super) fn known_status(&self) -> Result<Option<u16>, OrderError> {
        match self.status {
            Some(status) if !(200..600).contains(&status) => Err(OrderError::Status(status)),
            status => Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentFault, Defect, Fault, Field, TimeFormat};

    fn order<F: Orderable>(json: &str) -> Result<Order<F>, String> {
        let words: FaultWords = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Order::try_from(words).map_err(|error: OrderError| error.to_string())
    }

    /// What is injected, by its `Debug`.
    fn injected<F: Orderable + std::fmt::Debug>(json: &str) -> String {
        match order::<F>(json).unwrap().what {
            What::Faults { others, .. } => format!("{others:?}"),
            What::Refuse(time) => format!("refuse for {time:?}"),
        }
    }

    fn agents(json: &str, faults: &[AgentFault]) {
        assert_eq!(
            injected::<AgentFault>(json),
            format!("{faults:?}"),
            "{json}"
        );
    }

    #[test]
    fn every_fault_of_the_agent_has_its_words() {
        use AgentFault as F;
        let time = Duration::from_millis;
        let throttled = ServiceError::new(ErrorCode::Throttling);
        let header = |name, value| F::Header(name, http::HeaderValue::from_static(value));
        for (json, faults) in [
            (
                r#"{"error": "ThrottlingException"}"#,
                vec![throttled.clone().into()],
            ),
            (
                r#"{"error": "Throttling", "message": "slow down", "retry_after": "2s"}"#,
                vec![
                    header(http::header::RETRY_AFTER, "2"),
                    throttled.message("slow down").into(),
                ],
            ),
            (r#"{"status": 503}"#, vec![F::Status(503)]),
            (
                r#"{"status": 502, "text": "bad"}"#,
                vec![F::text(502, "bad")],
            ),
            (
                r#"{"redirect": "http://e.com"}"#,
                vec![F::redirect(302, "http://e.com")],
            ),
            (
                r#"{"status": 307, "redirect": "/"}"#,
                vec![F::redirect(307, "/")],
            ),
            (r#"{"body": "{}"}"#, vec![F::body("{}")]),
            (r#"{"malformed": true}"#, vec![F::malformed()]),
            (r#"{"empty": true}"#, vec![F::empty()]),
            (r#"{"html": true}"#, vec![F::html()]),
            (r#"{"close": "in_body"}"#, vec![F::Close(Stage::InBody)]),
            (
                r#"{"reset": "after_body"}"#,
                vec![F::Reset(Stage::AfterBody)],
            ),
            (r#"{"expires_in": "1m"}"#, vec![F::ExpiresIn(time(60_000))]),
            (
                r#"{"expired_for": "1h"}"#,
                vec![F::ExpiredFor(time(3_600_000))],
            ),
            (r#"{"same_again": true}"#, vec![F::SameAgain]),
            (
                r#"{"headers": {"x-one": "1"}}"#,
                vec![header(http::HeaderName::from_static("x-one"), "1")],
            ),
            (r#"{"byte_order_mark": true}"#, vec![F::ByteOrderMark]),
            (r#"{"gzip": true}"#, vec![F::Gzip]),
            (r#"{"oversize": true}"#, vec![F::Oversize]),
            (r#"{"chunked": true}"#, vec![F::Chunked]),
            (r#"{"latency": "250ms"}"#, vec![F::Latency(time(250))]),
            (r#"{"drip": "5ms"}"#, vec![F::Drip(time(5))]),
            (
                r#"{"status": 500, "latency": "1s", "stall": "in_headers"}"#,
                vec![
                    F::Latency(time(1_000)),
                    F::Stall(Stage::InHeaders),
                    F::Status(500),
                ],
            ),
        ] {
            agents(json, &faults);
        }
        assert_eq!(injected::<F>(r#"{"refuse": "30s"}"#), "refuse for 30s");
    }

    #[test]
    fn every_field_has_every_defect_and_every_format() {
        let renamed = Defect::Renamed("Other".to_owned());
        for field in Field::ALL {
            for (words, defect) in [
                (r#""missing""#, &Defect::Missing),
                (r#""null""#, &Defect::Null),
                (r#""empty""#, &Defect::Empty),
                (r#""wrong_type""#, &Defect::WrongType),
                (r#""lower_case""#, &Defect::LowerCase),
                (r#""upper_case""#, &Defect::UpperCase),
                (r#"{"renamed": "Other"}"#, &renamed),
            ] {
                let json = format!(r#"{{"fields": {{"{}": {words}}}}}"#, field.name());
                agents(&json, &[AgentFault::Field(field, defect.clone())]);
            }
        }
        for (word, format) in [
            ("epoch_seconds", TimeFormat::EpochSeconds),
            ("offset", TimeFormat::Offset),
            ("nanoseconds", TimeFormat::Nanoseconds),
        ] {
            let json = format!(r#"{{"expiration": "{word}"}}"#);
            agents(&json, &[AgentFault::Expiration(format)]);
        }
    }

    #[test]
    fn every_fault_of_eks_auth_has_its_words() {
        let throttled = ServiceError::new(ErrorCode::Throttling);
        let hinted = throttled.retry_after(Duration::from_millis(1_500));
        for (json, fault) in [
            (
                r#"{"error": "ThrottlingException", "retry_after": "1500ms"}"#,
                hinted.into(),
            ),
            (r#"{"status": 502}"#, Fault::Status(502, String::new())),
            (r#"{"html": true}"#, Fault::Status(200, String::new())),
            (r#"{"malformed": true}"#, Fault::Malformed(String::new())),
            (r#"{"empty": true}"#, Fault::Malformed(String::new())),
            (r#"{"body": "{}"}"#, Fault::Malformed(String::new())),
            (r#"{"close": "before_headers"}"#, Fault::Reset),
            (r#"{"reset": "before_headers"}"#, Fault::Reset),
            (r#"{"stall": "before_headers"}"#, Fault::Hang),
            (
                r#"{"latency": "1s"}"#,
                Fault::Latency(Duration::from_secs(1)),
            ),
            (r#"{"expires_in": "0s"}"#, Fault::ExpiresIn(Duration::ZERO)),
            (
                r#"{"without": "subject.namespace"}"#,
                Fault::Without("subject.namespace"),
            ),
        ] {
            // Bodies are not in `Debug`; the suite looks at them.
            assert_eq!(injected::<Fault>(json), format!("{:?}", [fault]), "{json}");
        }
        assert_eq!(injected::<Fault>(r#"{"refuse": "30s"}"#), "refuse for 30s");
    }

    #[test]
    fn for_which_requests_it_is_follows_from_what_is_said() {
        for (words, requests) in [
            ("", "Next(1)"),
            (r#", "count": 2"#, "Next(2)"),
            (r#", "nth": 3"#, "Nth(3)"),
            (r#", "always": true"#, "Always"),
            (r#", "lasting": "1m""#, "Always"),
            (r#", "until": "back""#, "Always"),
            (r#", "always": true, "lasting": "1m""#, "Always"),
            (r#", "count": 2, "until": "back""#, "Next(2)"),
            (r#", "after": "1m""#, "Next(1)"),
        ] {
            let order = order::<AgentFault>(&format!(r#"{{"status": 503{words}}}"#)).unwrap();
            assert_eq!(format!("{:?}", order.requests), requests, "{words}");
        }
    }

    #[test]
    fn an_order_that_cannot_be_filled_says_what_is_wrong_and_what_would_be_right() {
        for (json, words) in [
            ("{}", "there is no fault in it; expected error, status"),
            (r#"{"count": 1}"#, "there is no fault in it"),
            (r#"{"token": "current"}"#, "there is no fault in it"),
            (
                r#"{"sttaus": 503}"#,
                "unknown field `sttaus`, expected one of `error`",
            ),
            (r#"{"status": 42}"#, "expected 200 to 599"),
            (
                r#"{"error": "Nonsense"}"#,
                "is called Nonsense; expected one such as",
            ),
            (
                r#"{"message": "x", "status": 500}"#,
                "message goes with error only",
            ),
            (
                r#"{"operation": "GetCallerIdentity", "status": 500}"#,
                "operation goes with the mock of EKS Auth only",
            ),
            (
                r#"{"status": 500, "malformed": true}"#,
                "status and malformed exclude each other",
            ),
            (r#"{"text": "x"}"#, "text goes with status only"),
            (r#"{"status": 500, "redirect": "/"}"#, "300 to 399, not 500"),
            (r#"{"redirect": "/", "text": "x"}"#, "leave out one"),
            (r#"{"redirect": "\n"}"#, "cannot be sent in a header"),
            (
                r#"{"headers": {"a b": "1"}}"#,
                "a b cannot be sent in a header",
            ),
            (
                r#"{"headers": {"a": "\n"}}"#,
                "a cannot be sent in a header",
            ),
            (
                r#"{"status": 500, "count": 1, "always": true}"#,
                "leave out one",
            ),
            (r#"{"status": 500, "count": 1, "nth": 1}"#, "leave out one"),
            (r#"{"status": 500, "count": 0}"#, "count counts from 1"),
            (r#"{"status": 500, "nth": 0}"#, "nth counts from 1"),
            (
                r#"{"stall": "sometimes"}"#,
                "unknown variant `sometimes`, expected one of",
            ),
            (r#"{"hold": "in_body"}"#, "hold goes with until only"),
            (
                r#"{"expires_in": "1s", "expired_for": "1s"}"#,
                "leave out one",
            ),
            (r#"{"retry_after": "1500ms"}"#, "in whole seconds"),
            (
                r#"{"latency": 5}"#,
                "expected a length of time with its unit, such as",
            ),
            (
                r#"{"latency": "5 parsecs"}"#,
                "\"5 parsecs\" is no length of time",
            ),
            (r#"{"refuse": "5s", "count": 1}"#, "there can be after only"),
            (
                r#"{"refuse": "5s", "status": 500}"#,
                "there can be after only",
            ),
            (
                r#"{"fields": {"Expire": "null"}}"#,
                "expected one of `AccessKeyId`",
            ),
            (
                r#"{"fields": {"Token": "gone"}}"#,
                "expected one of `missing`",
            ),
            (r#"{"without": "subject"}"#, "of the mock of EKS Auth only"),
        ] {
            let error = order::<AgentFault>(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
        for (json, words) in [
            (r#"{"close": "in_body"}"#, "before_headers only"),
            (
                r#"{"hold": "in_body", "until": "x"}"#,
                "before_headers only",
            ),
            (
                r#"{"gzip": true}"#,
                "gzip is a fault of the mock agent only",
            ),
            (
                r#"{"status": 500, "token": "current"}"#,
                "token is a fault of the mock agent only",
            ),
            (
                r#"{"status": 500, "retry_after": "1s"}"#,
                "retry_after goes with error only",
            ),
            (
                r#"{"operation": "CreateCluster", "status": 500}"#,
                "no operation CreateCluster; expected one such as",
            ),
            (
                r#"{"operation": "GetCallerIdentity", "error": "Nonsense"}"#,
                "no error of EKS and STS is called Nonsense",
            ),
            (
                r#"{"operation": "GetCallerIdentity", "error": "ThrottlingException", "retry_after": "1s"}"#,
                "other operations do not have it",
            ),
            (
                r#"{"without": "subject.pod"}"#,
                "expected one of assumedRoleUser, ",
            ),
        ] {
            let error = order::<Fault>(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
