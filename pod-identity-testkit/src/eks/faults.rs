use pod_identity_core::wire::eks_auth::ErrorCode;

use crate::eks::members::members;
use crate::fault::choice::TokenChoice;
use crate::fault::error::FaultError;
use crate::http::answer::{self, Answer};
use crate::{ApiError, ApiErrorCode, Fault, Operation, ServiceError};

/// Checks the rules of the mock of EKS Auth.
pub(super) fn check(fault: &Fault) -> Result<(), FaultError> {
    let of_agent = [
        ("expiration", fault.expiration.is_some()),
        ("same_again", fault.same_again),
        ("token", matches!(fault.token, Some(TokenChoice::Age(_)))),
    ];
    if let Some((name, _)) = of_agent.into_iter().find(|(_, is_there)| *is_there) {
        return Err(FaultError::AgentOnly(name));
    }
    let operation = fault
        .operation
        .unwrap_or(Operation::AssumeRoleForPodIdentity);
    if operation.is_of_api_server_only() {
        return Err(FaultError::OtherMock(
            operation.name(),
            "the mock of the API server",
        ));
    }
    if let Some(name) = &fault.error {
        check_error(operation, name)?;
    }
    match operation {
        _ if fault.retry_after.is_some() && fault.error.is_none() => {
            Err(FaultError::Needs("retry_after", "error"))
        }
        Operation::GetCallerIdentity
        | Operation::OpenIdConfiguration
        | Operation::JsonWebKeySet
            if fault.retry_after.is_some() =>
        {
            Err(FaultError::RetryAfter)
        }
        _ => check_members(operation, fault),
    }
}

fn check_error(operation: Operation, name: &str) -> Result<(), FaultError> {
    match operation {
        _ if ErrorCode::from_name(name).is_some() => Ok(()),
        Operation::AssumeRoleForPodIdentity => Err(FaultError::Error(name.to_owned())),
        _ if ApiErrorCode::from_name(name).is_some() => Ok(()),
        _ => Err(FaultError::ApiError {
            name: name.to_owned(),
            known: ApiErrorCode::ALL.map(ApiErrorCode::name).join(", "),
        }),
    }
}

fn check_members(operation: Operation, fault: &Fault) -> Result<(), FaultError> {
    let known = members(operation);
    let mut paths = fault.fields.keys().chain(&fault.without);
    match paths.find(|path| !known.contains(path)) {
        Some(_) if known.is_empty() => Err(FaultError::NoMembers(operation.name())),
        Some(path) => Err(FaultError::Member {
            name: path.clone(),
            success: match operation {
                Operation::AssumeRoleForPodIdentity => "EKS Auth's success",
                _ => operation.name(),
            },
            known: known.join(", "),
        }),
        None => Ok(()),
    }
}

/// Returns the answer of `error`, `status` or `malformed`.
pub(super) fn answer(operation: Operation, fault: &Fault) -> Option<Answer> {
    if let Some(name) = &fault.error {
        return Some(error(operation, name, fault));
    }
    if fault.malformed {
        return Some(answer::json(200, BROKEN_OFF));
    }
    let text = fault.text.as_ref().map(|text| text.0.clone());
    Some(answer::bare(fault.status?, text.unwrap_or_default()))
}

/// Returns the error by its name in EKS Auth, if that has the operation, or else in EKS.
fn error(operation: Operation, name: &str, fault: &Fault) -> Answer {
    let message = fault.message.as_ref().map(|message| message.0.clone());
    let api_code = ApiErrorCode::from_name(name);
    match api_code.filter(|_| operation != Operation::AssumeRoleForPodIdentity) {
        Some(code) => {
            let error = ApiError::new(code);
            let error = match message {
                Some(message) => error.message(message),
                None => error,
            };
            error.answer(operation)
        }
        None => {
            let code = ErrorCode::from_name(name).expect("a fault must have been checked");
            let error = ServiceError::new(code);
            let error = match message {
                Some(message) => error.message(message),
                None => error,
            };
            error.answer(operation)
        }
    }
}

const BROKEN_OFF: &str = "{\"credentials\":";
