use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

use crate::serve::respond::text;
use crate::telemetry::log_level::LogLevel;

/// Answers `/debug/state` and `/debug/log-level`. They belong at the probe socket, to which only the user of
/// this process can connect, and never at a port.
///
/// `GET /debug/log-level` returns the level, and `PUT /debug/log-level?level=debug` sets it.
#[derive(Clone)]
pub(crate) struct Debug {
    pub(crate) log_level: LogLevel,
    /// Reads the state of the agent, which must hold no secret.
    pub(crate) state: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl Debug {
    /// `None` if the path is not one of these.
    pub(crate) fn respond<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let respond = match request.uri().path() {
            STATE => Self::state,
            LOG_LEVEL => Self::log_level,
            _ => return None,
        };
        Some(respond(self, request.method(), request.uri().query()))
    }

    fn state(&self, method: &Method, _query: Option<&str>) -> Response<Full<Bytes>> {
        if *method != Method::GET {
            return not_allowed("GET");
        }
        let mut page = format!("{:#}", (self.state)());
        page.push('\n');
        let mut response = Response::new(Full::new(Bytes::from(page)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    fn log_level(&self, method: &Method, query: Option<&str>) -> Response<Full<Bytes>> {
        match *method {
            Method::GET => {}
            Method::PUT => {
                let name = query.and_then(|query| query.strip_prefix("level="));
                let Some(level) = name.and_then(level_of) else {
                    let expected = "expected ?level= and one of error, warn, info, debug, trace";
                    return text(StatusCode::BAD_REQUEST, expected.to_owned());
                };
                self.log_level.set(level);
            }
            _ => return not_allowed("GET, PUT"),
        }
        text(StatusCode::OK, self.log_level.get().to_string())
    }
}

impl fmt::Debug for Debug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debug")
            .field("log_level", &self.log_level)
            .finish_non_exhaustive()
    }
}

fn level_of(name: &str) -> Option<LevelFilter> {
    const LEVELS: [LevelFilter; 5] = [
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    LEVELS.into_iter().find(|level| level.to_string() == name)
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "405 method not allowed".to_owned(),
    );
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

pub(crate) const STATE: &str = "/debug/state";

pub(crate) const LOG_LEVEL: &str = "/debug/log-level";
