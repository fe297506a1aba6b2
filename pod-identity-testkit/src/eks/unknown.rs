use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::json;

use crate::Operation;
use crate::eks::asked::Dialect;
use crate::eks::call::Call;
use crate::eks::sts;
use crate::http::answer::{self, Answer, ErrorCodeOf};
use crate::record::redaction;

/// Refuses an operation that the mock does not have, in the protocol of its service, with what it was and what
/// there is.
pub(crate) fn answer(call: &Call) -> Answer {
    let message = message(call);
    match call.asked.dialect {
        Dialect::RestJson => answer::error(404, "UnknownOperationException", &message),
        Dialect::Json => {
            let code = "UnknownOperationException";
            let body = json!({ "__type": code, "message": message });
            let mut answer = answer::json(400, body.to_string());
            let content_type = HeaderValue::from_static("application/x-amz-json-1.1");
            answer.headers_mut().insert(CONTENT_TYPE, content_type);
            answer.extensions_mut().insert(ErrorCodeOf(code));
            answer
        }
        Dialect::Query => sts::error(400, "InvalidAction", &message),
        Dialect::S3 => {
            let code = "NotImplemented";
            let message = sts::escaped(&message);
            let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            let mut answer = answer::xml(501, body);
            answer.extensions_mut().insert(ErrorCodeOf(code));
            answer
        }
    }
}

fn message(call: &Call) -> String {
    let head = &call.head;
    let known = Operation::ALL
        .into_iter()
        .filter(|it| *it != Operation::Unknown && !it.is_of_api_server_only());
    let known: Vec<&str> = known.map(Operation::name).collect();
    let message = format!(
        "Unknown operation: this mock has no {} ({} {}); it has {}",
        call.action(),
        head.method,
        head.uri.path(),
        known.join(", ")
    );
    redaction::text(&message)
}
