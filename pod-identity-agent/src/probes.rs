use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;

use crate::metrics::Metrics;
use crate::router::text;

/// Answers liveness and readiness probes, and, on the metrics address, the metrics.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    metrics: Option<Arc<Metrics>>,
}

impl Probes {
    /// `/healthz` and `/readyz` only.
    pub(crate) fn new() -> Self {
        Self { metrics: None }
    }

    /// `/metrics` too.
    pub(crate) fn with_metrics(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some(metrics),
        }
    }

    pub(crate) fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match (request.uri().path(), &self.metrics) {
            ("/healthz" | "/readyz", _) => text(StatusCode::OK, "ok".to_owned()),
            ("/metrics", Some(metrics)) => {
                let mut response = Response::new(Full::new(Bytes::from(metrics.render())));
                let exposition =
                    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, exposition);
                response
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found".to_owned()),
        }
    }
}
