use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;

use crate::serve::respond::text;
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::readiness::{Readiness, Report};

/// Answers liveness and readiness probes and, on the metrics address, `/metrics`.
#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    /// Reads the state of the agent for the gauges.
    pub(crate) reading: Arc<dyn Fn() -> Reading + Send + Sync>,
}

impl Probes {
    /// `/healthz` shows that the process answers: a restart remedies nothing else. `/readyz` shows whether pods
    /// are served, and if not, why.
    pub(crate) fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok".to_owned()),
            "/readyz" => readyz(self.readiness.report()),
            _ => text(StatusCode::NOT_FOUND, "404 page not found".to_owned()),
        }
    }

    /// `/metrics`, and the probes as pods may read them, who can reach this port.
    pub(crate) fn respond_with_metrics<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/metrics" => {}
            "/readyz" => return readyz(self.readiness.report_for_pods()),
            _ => return self.respond(request),
        }
        let page = self.metrics.render(&(self.reading)());
        let mut response = Response::new(Full::new(Bytes::from(page)));
        let exposition = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, exposition);
        response
    }
}

fn readyz(report: Report) -> Response<Full<Bytes>> {
    let status = match report.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, report.message)
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}
