use std::mem;

use pod_identity_core::Timestamp;
use serde_json::Value;

use crate::fault::requester::Requester;
use crate::http::outcome::Outcome;
use crate::mock::record::record;
use crate::record::recorder::Recorded;
use crate::record::size;
use crate::{Expectations, JsonPatch};

/// What a [`MockWebhook`](crate::MockWebhook) has seen of one request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WebhookRequest {
    /// When its body had been read, by the mock's clock.
    pub at: Timestamp,
    /// Which connection it came over, counted from 1.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path with its query, in which secrets are redacted.
    pub path: String,
    /// The header `Host`.
    pub host: Option<String>,
    /// `request.uid` of the review.
    pub uid: Option<String>,
    /// `request.namespace` of the review.
    pub namespace: Option<String>,
    /// The service account of the pod, if the manifest has one.
    pub service_account: Option<String>,
    /// The name of the pod, or what its name is generated from.
    pub pod: Option<String>,
    /// The whole review, if the body is JSON. Tokens, and members whose names are those of secrets, are redacted.
    pub review: Option<Value>,
    /// The patch of a pod that was allowed; an empty one if the webhook ignores it. `None` for a pod that was denied,
    /// and where a fault answered. Secrets in it are redacted.
    pub patch: Option<JsonPatch>,
    /// How many requests waited for their answer when it arrived, itself included.
    pub in_flight: usize,
    /// What it was answered; `None` while it waits, and when the client left before.
    pub outcome: Option<Outcome>,
}

impl Recorded for WebhookRequest {
    fn is_like(&self, _other: &Self) -> bool {
        true
    }

    fn set_in_flight(&mut self, count: usize) {
        self.in_flight = count;
    }

    fn size(&self) -> usize {
        let texts = [
            Some(&self.method),
            Some(&self.path),
            self.host.as_ref(),
            self.uid.as_ref(),
            self.namespace.as_ref(),
            self.service_account.as_ref(),
            self.pod.as_ref(),
        ];
        let texts = texts.into_iter().map(size::of_option).sum::<usize>();
        let review = self.review.as_ref().map_or(0, size::of_json);
        let patch = self.patch.as_ref().map_or(0, JsonPatch::size);
        mem::size_of::<Self>() + texts + review + patch
    }
}

impl WebhookRequest {
    fn asked_by(&self) -> Requester<'_> {
        Requester {
            pod: self.pod.as_deref(),
            ..Requester::new(None, None)
        }
    }

    fn in_one_line(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let pod = self.pod.as_deref().unwrap_or("no pod");
        format!("{} {}  {namespace}/{pod}", self.method, self.path)
    }
}

record!(WebhookRequest);

/// What is to be true of requests to the webhook only.
impl Expectations<'_, WebhookRequest> {
    /// Every pod that comes is patched.
    pub fn patched(self) -> Self {
        self.none(
            |request| {
                request.uid.is_some() && request.patch.as_ref().is_none_or(JsonPatch::is_empty)
            },
            "was not patched",
            |request| request.uid.is_some(),
            "no request came with a pod",
        )
    }
}
