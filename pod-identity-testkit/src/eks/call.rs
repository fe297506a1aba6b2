use bytes::Bytes;
use http::HeaderMap;
use http::header::{HOST, HeaderName, USER_AGENT};
use http::request::Parts;
use pod_identity_core::wire::eks_auth::AssumeRoleRequest;
use pod_identity_core::{ServiceAccountToken, Timestamp, TokenDigest, UnverifiedClaims};

use crate::eks::route::Route;
use crate::http::request::Request;
use crate::{Operation, RecordedRequest};

/// A request with what could be read of it.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) route: Route,
    /// The body, if it is one of `AssumeRoleForPodIdentity`.
    pub(crate) request: Option<AssumeRoleRequest>,
}

impl Call {
    /// Returns `None` if the request has no valid method or target. A body that is too large counts as none:
    /// it is recorded, and refused.
    pub(crate) fn read(request: &Request) -> Option<Self> {
        let (head, body) = request.to_http()?.into_parts();
        let route = Route::of(&head.method, &head.uri);
        let request = match route.operation {
            Operation::AssumeRoleForPodIdentity | Operation::Unknown => {
                serde_json::from_slice(&body).ok()
            }
            _ => None,
        };
        Some(Self {
            head,
            body,
            route,
            request,
        })
    }

    pub(crate) fn recorded(&self, connection: u64, at: Timestamp) -> RecordedRequest {
        let head = &self.head;
        let request = self.request.as_ref();
        let token = request.map(|request| request.token.expose());
        RecordedRequest {
            at,
            connection,
            operation: self.route.operation,
            method: head.method.to_string(),
            path: without_secrets(&head.uri.to_string()),
            cluster: self.route.cluster.clone(),
            host: text(&head.headers, HOST),
            user_agent: text(&head.headers, USER_AGENT),
            token: token.map(|token| TokenDigest::of(token.as_bytes())),
            claims: token.and_then(claims),
            eks_node_name: request.and_then(|request| request.eks_node_name.clone()),
            instance_id: request.and_then(|request| request.instance_id.clone()),
            zone: request.and_then(|request| request.zone.clone()),
            signature_error: None,
            outcome: None,
        }
    }
}

fn claims(token: &str) -> Option<UnverifiedClaims> {
    let token = ServiceAccountToken::parse(token).ok()?;
    Some(token.claims().clone())
}

/// A presigned request carries a session token and its signature in its query.
fn without_secrets(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name @ ("X-Amz-Security-Token" | "X-Amz-Signature"), _)) => {
            format!("{name}=redacted")
        }
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
