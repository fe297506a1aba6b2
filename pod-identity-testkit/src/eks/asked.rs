use http::request::Parts;

use crate::eks::sigv4::signature::service_of;
use crate::http::form::Form;
use crate::record::redaction;

/// What a request asks AWS for, whether this mock has it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The service that the signature is for, such as `sts` or `s3`.
    pub(crate) service: Option<String>,
    /// The operation as its protocol names it: `Action` of a query, the end of `X-Amz-Target`. REST has none.
    pub(crate) action: Option<String>,
    /// The protocol in which an error is understood.
    pub(crate) dialect: Dialect,
}

/// How a service writes its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    RestJson,
    /// JSON with the operation in a header.
    Json,
    /// XML with the operation in a form: STS, IAM, CloudFormation.
    Query,
    /// XML of S3.
    S3,
}

impl Asked {
    pub(crate) fn of(head: &Parts, body: &[u8]) -> Self {
        let service = service_of(head);
        let target = head.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        if let Some((_, action)) = target.and_then(|target| target.rsplit_once('.')) {
            // The end of a token is its signature, in which nobody would recognize the token.
            let redacted = target.map(redaction::text).unwrap_or_default();
            let is_token = target != Some(redacted.as_str());
            return Self {
                service,
                action: Some(if is_token {
                    redacted
                } else {
                    action.to_owned()
                }),
                dialect: Dialect::Json,
            };
        }
        let is_s3 = matches!(service.as_deref(), Some("s3" | "s3express"));
        let action = (head.uri.path() == "/").then(|| {
            let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
            let action = Form::parse(body).get("Action").map(str::to_owned);
            action.or_else(|| query.get("Action").map(str::to_owned))
        });
        let action = action.flatten();
        Self {
            dialect: match &action {
                Some(_) => Dialect::Query,
                None if is_s3 => Dialect::S3,
                None if service.as_deref() == Some("sts") => Dialect::Query,
                None => Dialect::RestJson,
            },
            service,
            action,
        }
    }

    /// Whether the mock has nothing of this service.
    pub(crate) fn is_of_another_service(&self) -> bool {
        let service = self.service.as_deref();
        service.is_some_and(|service| !SERVICES.contains(&service))
    }

    /// Returns `iam:ListRoles`, or `s3:GET` where the protocol has no name for the operation.
    pub(crate) fn name(&self, method: &str) -> String {
        let action = self.action.as_deref().unwrap_or(method);
        match &self.service {
            Some(service) => format!("{service}:{action}"),
            None => action.to_owned(),
        }
    }
}

/// The services that the mock has a part of, by their names in signatures.
const SERVICES: [&str; 3] = ["eks", "eks-auth", "sts"];
