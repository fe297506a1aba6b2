use crate::api_server::status::{Reason, Status};
use crate::fault::choice::TokenChoice;
use crate::fault::error::FaultError;
use crate::http::answer::{self, Answer};
use crate::{Fault, Operation};

/// Checks what holds for the mock of an API server.
pub(super) fn check(fault: &Fault) -> Result<(), FaultError> {
    if fault.outage().is_some() {
        return Ok(());
    }
    let foreign = [
        ("expiration", fault.expiration.is_some()),
        ("expires_in", fault.expires_in.is_some()),
        ("expired_for", fault.expired_for.is_some()),
        ("same_again", fault.same_again),
        ("pod", fault.pod.is_some()),
        ("token", matches!(fault.token, Some(TokenChoice::Age(_)))),
    ];
    if let Some((name, _)) = foreign.into_iter().find(|(_, is_there)| *is_there) {
        return Err(FaultError::NotOfApiServer(name));
    }
    let operation = fault.operation.ok_or(FaultError::NoOperation)?;
    if !operation.is_of_api_server() {
        return Err(FaultError::OtherMock(
            operation.name(),
            "the mock of EKS Auth",
        ));
    }
    if let Some(name) = &fault.error {
        Reason::from_name(name).ok_or_else(|| FaultError::KubernetesError(name.clone()))?;
    }
    let endless = [
        ("gzip", fault.gzip),
        ("fields", !fault.fields.is_empty()),
        ("without", fault.without.is_some()),
    ];
    let unfit = endless.into_iter().find(|(_, is_there)| *is_there);
    match unfit {
        Some((name, _)) if operation == Operation::WatchPods => Err(FaultError::NotOfWatch(name)),
        _ => match fault.retry_after {
            Some(time) if time.0.subsec_nanos() != 0 => Err(FaultError::PartsOfSeconds),
            _ => Ok(()),
        },
    }
}

/// The answer of `error`, `status` or `malformed`.
pub(super) fn answer(fault: &Fault) -> Option<Answer> {
    let message = fault.message.as_ref().map(|message| message.0.clone());
    let message = || message.unwrap_or_else(|| "injected".to_owned());
    if let Some(name) = &fault.error {
        let reason = Reason::from_name(name).expect("a fault must have been checked");
        return Some(Status::new(reason, message()).answer());
    }
    if fault.malformed {
        return Some(answer::json(200, BROKEN_OFF));
    }
    let status = fault.status?;
    Some(match (&fault.text, Reason::from_code(status)) {
        (Some(text), _) => answer::bare(status, text.0.clone()),
        (None, Some(reason)) => Status::new(reason, message()).answer(),
        (None, None) => answer::bare(status, String::new()),
    })
}

const BROKEN_OFF: &str = "{\"kind\":";
