use bytes::Bytes;
use pod_identity_core::wire::eks_auth::ErrorCode;
use serde_json::{Map, Value};

use crate::fault::choice::TokenChoice;
use crate::fault::error::FaultError;
use crate::http::answer::{self, Answer};
use crate::{ApiError, ApiErrorCode, Defect, Fault, Operation, ServiceError};

/// Checks what holds for the mock of EKS Auth.
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
    if let Some(name) = &fault.error {
        check_error(operation, name)?;
    }
    match operation {
        _ if fault.retry_after.is_some() && fault.error.is_none() => {
            return Err(FaultError::Needs("retry_after", "error"));
        }
        Operation::GetCallerIdentity
        | Operation::OpenIdConfiguration
        | Operation::JsonWebKeySet
            if fault.retry_after.is_some() =>
        {
            return Err(FaultError::RetryAfter);
        }
        Operation::AssumeRoleForPodIdentity => check_members(fault)?,
        _ => {}
    }
    Ok(())
}

fn check_error(operation: Operation, name: &str) -> Result<(), FaultError> {
    match operation {
        _ if ErrorCode::from_name(name).is_some() => Ok(()),
        Operation::AssumeRoleForPodIdentity => Err(FaultError::Error(name.to_owned())),
        _ if ApiErrorCode::from_name(name).is_some() => Ok(()),
        _ => Err(FaultError::ApiError(name.to_owned())),
    }
}

fn check_members(fault: &Fault) -> Result<(), FaultError> {
    let mut paths = fault.fields.keys().chain(&fault.without);
    match paths.find(|path| !MEMBERS.contains(&path.as_str())) {
        Some(path) => Err(FaultError::Member {
            name: path.clone(),
            success: "EKS Auth's success",
            known: MEMBERS.join(", "),
        }),
        None => Ok(()),
    }
}

/// The answer of `error`, `status` or `malformed`.
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

/// EKS Auth's name for it where that has the operation, else EKS's.
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

/// A success with the members changed that the fault changes.
pub(super) fn change(answer: Answer, fault: &Fault) -> Answer {
    if fault.without.is_none() && fault.fields.is_empty() {
        return answer;
    }
    answer.map(|body| {
        // A body that is not JSON has no members.
        let mut body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if let Some(path) = &fault.without {
            change_member(&mut body, path, &Defect::Missing);
        }
        for (path, defect) in &fault.fields {
            change_member(&mut body, path, defect);
        }
        Bytes::from(body.to_string())
    })
}

/// # Panics
/// Panics if there is no member at the path.
fn change_member(body: &mut Value, path: &str, defect: &Defect) {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (format!("/{}", parent.replace('.', "/")), name),
        None => (String::new(), path),
    };
    let parent = body.pointer_mut(&parent).and_then(Value::as_object_mut);
    let is_there = parent.is_some_and(|parent| change_in(parent, name, defect));
    assert!(is_there, "a success must have the member {path} of a fault");
}

/// Returns whether there is such a member.
fn change_in(parent: &mut Map<String, Value>, name: &str, defect: &Defect) -> bool {
    let Some(value) = parent.remove(name) else {
        return false;
    };
    let (name, value) = match defect {
        Defect::Missing => return true,
        Defect::Null => (name.to_owned(), Value::Null),
        Defect::Empty => (name.to_owned(), Value::from("")),
        Defect::WrongType => (name.to_owned(), Value::from([7])),
        Defect::LowerCase => (name.to_ascii_lowercase(), value),
        Defect::UpperCase => (name.to_ascii_uppercase(), value),
        Defect::Renamed(other) => (other.clone(), value),
    };
    parent.insert(name, value);
    true
}

/// What a success of EKS Auth is made of.
const MEMBERS: [&str; 15] = [
    "assumedRoleUser",
    "assumedRoleUser.arn",
    "assumedRoleUser.assumeRoleId",
    "audience",
    "credentials",
    "credentials.accessKeyId",
    "credentials.expiration",
    "credentials.secretAccessKey",
    "credentials.sessionToken",
    "podIdentityAssociation",
    "podIdentityAssociation.associationArn",
    "podIdentityAssociation.associationId",
    "subject",
    "subject.namespace",
    "subject.serviceAccount",
];

const BROKEN_OFF: &str = "{\"credentials\":";
