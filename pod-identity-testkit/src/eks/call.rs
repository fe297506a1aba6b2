use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HOST, HeaderName, USER_AGENT};
use http::request::Parts;
use pod_identity_core::wire::eks_auth::AssumeRoleRequest;
use pod_identity_core::{
    JsonObject, ServiceAccountToken, Timestamp, TokenDigest, UnverifiedClaims,
};
use serde_json::Value;

use crate::eks::asked::{Asked, Dialect};
use crate::eks::route::Route;
use crate::http::form::Form;
use crate::http::request::Request;
use crate::record::redaction;
use crate::{Operation, RecordedRequest};

/// A request with what could be read of it.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) asked: Asked,
    pub(crate) route: Route,
    /// The body, if it is one of `AssumeRoleForPodIdentity`.
    pub(crate) request: Option<AssumeRoleRequest>,
}

impl Call {
    /// Returns `None` if the request has no valid method or target. A body that is too large counts as none:
    /// it is recorded, and refused.
    pub(crate) fn read(request: &Request) -> Option<Self> {
        let (head, body) = request.to_http()?.into_parts();
        let asked = Asked::of(&head, &body);
        let route = Route::of(&asked, &head.method, &head.uri);
        let request = match route.operation {
            Operation::AssumeRoleForPodIdentity | Operation::Unknown => {
                let request: Option<JsonObject<AssumeRoleRequest>> =
                    serde_json::from_slice(&body).ok();
                request.map(|JsonObject(request)| request)
            }
            _ => None,
        };
        Some(Self {
            head,
            body,
            asked,
            route,
            request,
        })
    }

    pub(crate) fn recorded(&self, connection: u64, at: Timestamp) -> RecordedRequest {
        let head = &self.head;
        let request = self.request.as_ref();
        let token = request.map(|request| request.token.expose());
        let named = |member: fn(&AssumeRoleRequest) -> &Option<String>| {
            let name = member(request?).as_deref()?;
            Some(redaction::text(name))
        };
        RecordedRequest {
            at,
            connection,
            operation: self.route.operation,
            action: self.action(),
            method: redaction::text(head.method.as_str()),
            path: redaction::target(&head.uri.to_string()),
            parameters: self.parameters(),
            body: self.json(),
            cluster: self.route.cluster.as_deref().map(redaction::text),
            host: text(&head.headers, HOST),
            user_agent: text(&head.headers, USER_AGENT),
            token: token.map(|token| TokenDigest::of(token.as_bytes())),
            claims: token.and_then(claims),
            eks_node_name: named(|request| &request.eks_node_name),
            instance_id: named(|request| &request.instance_id),
            zone: named(|request| &request.zone),
            is_verified: false,
            signature_error: None,
            in_flight: 0,
            outcome: None,
        }
    }
}

impl Call {
    /// What it asks for: the operation's name, or that of an operation which the mock does not have.
    pub(crate) fn action(&self) -> String {
        match self.route.operation {
            Operation::Unknown => redaction::text(&self.asked.name(self.head.method.as_str())),
            operation => operation.name().to_owned(),
        }
    }

    /// Those of the query, and of a form in the body.
    fn parameters(&self) -> BTreeMap<String, String> {
        let query = Form::parse(self.head.uri.query().unwrap_or_default().as_bytes());
        let form = match self.asked.dialect {
            Dialect::Query => Form::parse(&self.body),
            _ => Form::default(),
        };
        let pairs = query.pairs().chain(form.pairs());
        pairs
            .map(|(name, value)| (redaction::text(name), redaction::parameter(name, value)))
            .collect()
    }

    fn json(&self) -> Option<Value> {
        let mut body = serde_json::from_slice(&self.body).ok()?;
        redaction::redact(&mut body);
        Some(body)
    }
}

fn claims(token: &str) -> Option<UnverifiedClaims> {
    let token = ServiceAccountToken::parse(token).ok()?;
    Some(token.claims().clone())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(redaction::text(&String::from_utf8_lossy(value.as_bytes())))
}
