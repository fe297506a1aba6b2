use http::HeaderValue;
use http::request::Parts;
use pod_identity_core::Timestamp;
use pod_identity_core::wire::eks_auth::ErrorBody;

use crate::eks::sigv4::check::{Dialect, Keys, Scope, SignatureError, Signer};
use crate::http::answer::{self, Answer, ErrorCodeOf};
use crate::token::ids;

/// The action `GetCallerIdentity` of STS, in the query protocol, which answers in XML.
#[derive(Debug)]
pub(crate) struct Sts<'a> {
    pub(crate) keys: &'a Keys,
    /// The account of the node's keys.
    pub(crate) account: &'a str,
    pub(crate) timely: bool,
    pub(crate) now: Timestamp,
}

impl Sts<'_> {
    /// The form is in the body, or in the query of a GET, which may be presigned.
    pub(crate) fn call(&self, head: &Parts, body: &[u8]) -> (Answer, Option<SignatureError>) {
        let scope = Scope {
            service: "sts",
            // The global endpoint signs for us-east-1.
            region: None,
            timely: self.timely,
        };
        match self.keys.signer(scope, head, body, self.now) {
            Ok(signer) => (self.identity(&signer), None),
            Err(error) => {
                let code = error.code(Dialect::Query);
                (
                    refused(error.status(), code, &error.to_string()),
                    Some(error),
                )
            }
        }
    }

    fn identity(&self, signer: &Signer) -> Answer {
        let (arn, user_id, account) = match signer {
            Signer::Session(minted) => {
                let session = &minted.session;
                let user_id = session.assumed_role_id.clone();
                (session.arn.clone(), user_id, session.account())
            }
            Signer::Node(id) => {
                let arn = format!("arn:aws:iam::{}:user/{id}", self.account);
                (arn, ids::user_id(id), self.account)
            }
        };
        let (arn, user_id) = (escaped(&arn), escaped(&user_id));
        xml(200, |request_id| {
            format!(
                "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
                 <Arn>{arn}</Arn><UserId>{user_id}</UserId><Account>{account}</Account>\
                 </GetCallerIdentityResult><ResponseMetadata><RequestId>{request_id}</RequestId>\
                 </ResponseMetadata></GetCallerIdentityResponse>"
            )
        })
    }
}

/// Returns the error of STS for an error of EKS.
pub(crate) fn error(status: u16, name: &'static str, message: &str) -> Answer {
    match name {
        "ThrottlingException" => refused(400, "Throttling", message),
        "ServerException" | "InternalServerException" => refused(500, "InternalFailure", message),
        _ => refused(
            status,
            name.strip_suffix("Exception").unwrap_or(name),
            message,
        ),
    }
}

fn refused(status: u16, code: &'static str, message: &str) -> Answer {
    let message = escaped(message);
    let fault = if status < 500 { "Sender" } else { "Receiver" };
    let mut answer = xml(status, |request_id| {
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    });
    answer.extensions_mut().insert(ErrorCodeOf(code));
    answer
}

/// Returns an answer with the same request id in its header and in its body.
fn xml(status: u16, body: impl FnOnce(&str) -> String) -> Answer {
    let request_id = ids::uuid(&mut fastrand::Rng::new());
    let mut answer = answer::xml(status, body(&request_id));
    let id = HeaderValue::try_from(request_id).expect("a UUID must be a header value");
    answer
        .headers_mut()
        .insert(ErrorBody::REQUEST_ID_HEADER, id);
    answer
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
