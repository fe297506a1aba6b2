use crate::Operation;
use crate::eks::sts;
use crate::http::answer::{self, Answer};

/// An error in the protocol of an operation.
pub(crate) fn error(
    operation: Operation,
    status: u16,
    code: &'static str,
    message: &str,
) -> Answer {
    match operation {
        Operation::GetCallerIdentity => sts::error(status, code, message),
        _ => answer::error(status, code, message),
    }
}
