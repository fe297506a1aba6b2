use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use pod_identity_core::{Secret, Timestamp, TokenDigest};
use serde_json::Value;

use crate::Operation;
use crate::api_server::field_selector::FieldSelector;
use crate::api_server::pods::{Selection, WatchOptions};
use crate::api_server::representation::Representation;
use crate::api_server::request::ApiServerRequest;
use crate::api_server::status::Status;
use crate::http::request::Request;
use crate::record::redaction;

/// A request with what could be read of it.
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The namespace or the node in the path.
    pub(crate) name: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) host: Option<String>,
    pub(crate) content_type: Option<String>,
    user_agent: Option<String>,
    accept: Option<String>,
    pub(crate) body: String,
}

impl Call {
    /// Returns `None` if the request has no method or target that HTTP has.
    pub(crate) fn read(request: &Request) -> Option<Self> {
        let (head, body) = request.to_http()?.into_parts();
        let text = |name: HeaderName| request.head.text(name);
        let segments = head.uri.path().split('/').filter(|part| !part.is_empty());
        let segments: Vec<String> = segments
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let is_watch = matches!(parameter(&head.uri, "watch").as_deref(), Some("1" | "true"));
        let pods = match is_watch {
            true => Operation::WatchPods,
            false => Operation::ListPods,
        };
        let (operation, name) = match (&head.method, segments.as_slice()) {
            (&Method::GET, ["version"]) => (Operation::GetVersion, None),
            (&Method::GET, ["openid", "v1", "jwks"]) => (Operation::JsonWebKeySet, None),
            (&Method::GET, [".well-known", "openid-configuration"]) => {
                (Operation::OpenIdConfiguration, None)
            }
            (&Method::GET, ["api", "v1", "pods"]) => (pods, None),
            (&Method::GET, ["api", "v1", "namespaces", namespace, "pods"]) => {
                (pods, Some((*namespace).to_owned()))
            }
            (&Method::GET, ["api", "v1", "nodes", name]) => {
                (Operation::GetNode, Some((*name).to_owned()))
            }
            (&Method::PATCH, ["api", "v1", "nodes", name]) => {
                (Operation::PatchNode, Some((*name).to_owned()))
            }
            _ => (Operation::Unknown, None),
        };
        let token = text(AUTHORIZATION);
        let token = token
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        Some(Self {
            operation,
            name,
            token: token.map(|token| Secret::from(token.to_owned())),
            host: request.head.host(),
            content_type: text(CONTENT_TYPE),
            user_agent: text(USER_AGENT),
            accept: text(ACCEPT),
            body: String::from_utf8_lossy(&body).into_owned(),
            method: head.method,
            uri: head.uri,
        })
    }

    /// Whether the client accepts this media type; one without the header `Accept` accepts all.
    pub(crate) fn accepts(&self, media_type: &str) -> bool {
        let Some(accept) = &self.accept else {
            return true;
        };
        let mut accepted = accept
            .split(',')
            .map(|one| one.split(';').next().unwrap_or_default().trim());
        accepted.any(|one| one == "*/*" || one == media_type)
    }

    pub(crate) fn recorded(&self, connection: u64, at: Timestamp) -> ApiServerRequest {
        let token = self.token.as_ref().map(Secret::expose);
        let text = |text: &Option<String>| text.as_deref().map(redaction::text);
        ApiServerRequest {
            at,
            connection,
            operation: self.operation,
            method: redaction::text(self.method.as_str()),
            path: redaction::target(&self.uri.to_string()),
            user_agent: text(&self.user_agent),
            accept: text(&self.accept),
            content_type: text(&self.content_type),
            body: body(&self.body),
            token: token.map(|token| TokenDigest::of(token.as_bytes())),
            in_flight: 0,
            outcome: None,
        }
    }

    /// Which pods a list or a watch is about.
    ///
    /// # Errors
    /// Fails if the field selector is not one.
    pub(crate) fn selection(&self) -> Result<Selection, Status> {
        let fields = parameter(&self.uri, "fieldSelector").unwrap_or_default();
        Ok(Selection {
            namespace: self.name.clone(),
            fields: FieldSelector::parse(&fields)?,
            representation: Representation::accepted_by(self.accept.as_deref()),
        })
    }

    /// # Errors
    /// Fails if the field selector is not one.
    pub(crate) fn watch_options(&self) -> Result<WatchOptions, Status> {
        let from = parameter(&self.uri, "resourceVersion").and_then(|text| text.parse().ok());
        let bookmarks = parameter(&self.uri, "allowWatchBookmarks");
        Ok(WatchOptions {
            selection: self.selection()?,
            from: from.filter(|version| *version != 0),
            bookmarks: matches!(bookmarks.as_deref(), Some("1" | "true")),
        })
    }
}

/// As it was sent, unless there is a secret in it.
fn body(sent: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(sent) else {
        return redaction::text(sent);
    };
    let mut redacted = json.clone();
    redaction::redact(&mut redacted);
    match redacted == json {
        true => sent.to_owned(),
        false => redacted.to_string(),
    }
}

/// A parameter of the query.
fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
