use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer};

use super::table;
use crate::Fault;
use crate::fault::error::FaultError;
use crate::mock::mock::Mock;

/// A fault that was checked for a mock when it was read.
pub(super) struct FaultFor<M>(pub(super) Fault, PhantomData<fn() -> M>);

impl<M> fmt::Debug for FaultFor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<M: Mock> TryFrom<Fault> for FaultFor<M> {
    type Error = FaultError;

    fn try_from(fault: Fault) -> Result<Self, FaultError> {
        fault.check_for::<M>()?;
        Ok(Self(fault, PhantomData))
    }
}

impl<'de, M: Mock> Deserialize<'de> for FaultFor<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table::deserialize::<Fault, _, _>(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pod_identity_core::wire::eks_auth::ErrorCode;

    use super::*;
    use crate::agent::service::AgentService;
    use crate::eks::service::EksAuthService;
    use crate::fault::requests::Requests;
    use crate::{Defect, Field, ServiceError, Stage, TimeFormat};

    fn read<M: Mock>(json: &str) -> Result<Fault, String> {
        let fault: Fault = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let fault = FaultFor::<M>::try_from(fault).map_err(|error| error.to_string())?;
        Ok(fault.0)
    }

    /// Both mocks read this as the fault that a test in Rust would inject.
    fn both(json: &str, fault: &Fault) {
        agents(json, fault);
        eks_auths(json, fault);
    }

    fn agents(json: &str, fault: &Fault) {
        let read = read::<AgentService>(json).unwrap();
        assert_eq!(format!("{read:?}"), format!("{fault:?}"), "{json}");
    }

    fn eks_auths(json: &str, fault: &Fault) {
        let read = read::<EksAuthService>(json).unwrap();
        assert_eq!(format!("{read:?}"), format!("{fault:?}"), "{json}");
    }

    #[test]
    fn a_fault_is_spelled_in_a_file_as_in_rust() {
        let time = Duration::from_millis;
        for (json, fault) in [
            (
                r#"{"error": "ThrottlingException"}"#,
                Fault::from(ErrorCode::Throttling),
            ),
            (
                r#"{"error": "ThrottlingException", "message": "slow", "retry_after": "2s"}"#,
                ServiceError::new(ErrorCode::Throttling)
                    .message("slow")
                    .retry_after(time(2_000))
                    .into(),
            ),
            (r#"{"status": 503}"#, Fault::status(503)),
            (r#"{"status": 502, "text": "bad"}"#, Fault::text(502, "bad")),
            (
                r#"{"status": 307, "redirect": "/"}"#,
                Fault::redirect(307, "/"),
            ),
            (r#"{"body": "{}"}"#, Fault::body("{}")),
            (r#"{"malformed": true}"#, Fault::malformed()),
            (r#"{"empty": true}"#, Fault::empty()),
            (r#"{"html": true}"#, Fault::html()),
            (r#"{"close": "in_body"}"#, Fault::close(Stage::InBody)),
            (r#"{"reset": "after_body"}"#, Fault::reset(Stage::AfterBody)),
            (r#"{"expires_in": "1m"}"#, Fault::expires_in(time(60_000))),
            (
                r#"{"expired_for": "1h"}"#,
                Fault::expired_for(time(3_600_000)),
            ),
            (
                r#"{"headers": {"x-one": "1"}}"#,
                Fault::header(
                    http::HeaderName::from_static("x-one"),
                    http::HeaderValue::from_static("1"),
                ),
            ),
            (r#"{"byte_order_mark": true}"#, Fault::byte_order_mark()),
            (r#"{"gzip": true}"#, Fault::gzip()),
            (r#"{"oversize": true}"#, Fault::oversize()),
            (r#"{"chunked": true}"#, Fault::chunked()),
            (r#"{"latency": "250ms"}"#, Fault::latency(time(250))),
            (r#"{"drip": "5ms"}"#, Fault::drip(time(5))),
            (
                r#"{"status": 500, "latency": "1s", "stall": "in_headers"}"#,
                Fault::stall(Stage::InHeaders)
                    .and(Fault::latency(time(1_000)))
                    .and(Fault::status(500)),
            ),
            (r#"{"refuse": "30s"}"#, Fault::refuse(time(30_000))),
            (
                r#"{"unreachable": "30s"}"#,
                Fault::unreachable(time(30_000)),
            ),
            (
                r#"{"status": 500, "nth": 3, "pod": "cart-7", "after": "1s", "lasting": "2s"}"#,
                Fault::status(500)
                    .nth(3)
                    .pod("cart-7")
                    .after(time(1_000))
                    .lasting(time(2_000)),
            ),
        ] {
            both(json, &fault);
        }
        agents(r#"{"same_again": true}"#, &Fault::same_again());
        agents(
            r#"{"status": 500, "token": "previous"}"#,
            &Fault::status(500).token_age(1),
        );
        eks_auths(
            r#"{"without": "subject.namespace"}"#,
            &Fault::without("subject.namespace"),
        );
        eks_auths(
            r#"{"fields": {"credentials.expiration": "null"}}"#,
            &Fault::field("credentials.expiration", Defect::Null),
        );
    }

    #[test]
    fn every_field_has_every_defect_and_every_format() {
        let renamed = Defect::Renamed("Other".to_owned());
        for field in Field::ALL {
            for (word, defect) in [
                (r#""missing""#, &Defect::Missing),
                (r#""null""#, &Defect::Null),
                (r#""empty""#, &Defect::Empty),
                (r#""wrong_type""#, &Defect::WrongType),
                (r#""lower_case""#, &Defect::LowerCase),
                (r#""upper_case""#, &Defect::UpperCase),
                (r#"{"renamed": "Other"}"#, &renamed),
            ] {
                let json = format!(r#"{{"fields": {{"{}": {word}}}}}"#, field.name());
                agents(&json, &Fault::field(field, defect.clone()));
            }
        }
        for (word, format) in [
            ("epoch_seconds", TimeFormat::EpochSeconds),
            ("offset", TimeFormat::Offset),
            ("nanoseconds", TimeFormat::Nanoseconds),
        ] {
            let json = format!(r#"{{"expiration": "{word}"}}"#);
            agents(&json, &Fault::expiration(format));
        }
    }

    #[test]
    fn the_members_of_a_fault_select_its_requests() {
        for (members, requests) in [
            ("", Requests::Next(1)),
            (r#", "count": 2"#, Requests::Next(2)),
            (r#", "nth": 3"#, Requests::Nth(3)),
            (r#", "always": true"#, Requests::Always),
            (r#", "lasting": "1m""#, Requests::Always),
            (r#", "until": "back""#, Requests::Always),
            (r#", "always": true, "lasting": "1m""#, Requests::Always),
            (r#", "count": 2, "until": "back""#, Requests::Next(2)),
            (r#", "after": "1m""#, Requests::Next(1)),
        ] {
            let json = format!(r#"{{"status": 503{members}}}"#);
            let fault = read::<AgentService>(&json).unwrap();
            assert_eq!(fault.requests().unwrap(), requests, "{members}");
        }
    }

    #[test]
    fn an_invalid_fault_is_an_error_with_cause_and_remedy() {
        for (json, expected) in [
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
                "Nonsense is not an error of EKS Auth; expected one of AccessDeniedException, ",
            ),
            (
                r#"{"message": "x", "status": 500}"#,
                "message goes with error only",
            ),
            (
                r#"{"operation": "GetCallerIdentity", "status": 500}"#,
                "operation goes with the mocks of EKS Auth and of the API server",
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
            (r#"{"latency": "0s"}"#, "latency of 0s does nothing"),
            (
                r#"{"status": 503, "after": "0s"}"#,
                "after of 0s does nothing",
            ),
            (
                r#"{"status": 503, "lasting": "0ms"}"#,
                "lasting of 0s does nothing",
            ),
            (
                r#"{"latency": 5}"#,
                "expected a length of time with its unit, such as",
            ),
            (
                r#"{"latency": "5 parsecs"}"#,
                "\"5 parsecs\" is not a length of time",
            ),
            (r#"{"refuse": "5s", "count": 1}"#, "there can be after only"),
            (
                r#"{"refuse": "5s", "unreachable": "5s"}"#,
                "refuse is for everybody",
            ),
            (r#"{"unreachable": "0s"}"#, "unreachable of 0s does nothing"),
            (
                r#"{"refuse": "5s", "status": 500}"#,
                "there can be after only",
            ),
            (
                r#"{"fields": {"Expire": "null"}}"#,
                "Expire is not a member of the agent's success; expected one of AccessKeyId",
            ),
            (
                r#"{"fields": {"Token": "gone"}}"#,
                "expected one of `missing`",
            ),
            (r#"{"without": "subject"}"#, "of the mock of EKS Auth only"),
        ] {
            let error = read::<AgentService>(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        for (json, expected) in [
            (
                r#"{"same_again": true}"#,
                "same_again is a fault of the mock agent only",
            ),
            (
                r#"{"expiration": "offset"}"#,
                "expiration is a fault of the mock agent only",
            ),
            (
                r#"{"fields": {"credentials.token": "null"}}"#,
                "credentials.token is not a member of EKS Auth's success",
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
                "CreateCluster is not an operation that the mock has; expected one of ",
            ),
            (
                r#"{"operation": "GetCallerIdentity", "error": "Nonsense"}"#,
                "Nonsense is not an error of EKS or STS; expected one of AccessDeniedException, ",
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
            let error = read::<EksAuthService>(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
