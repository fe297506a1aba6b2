use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use pod_identity_core::wire::agent;
use pod_identity_core::{Endpoint, TokenError};
use tokio::time::Instant;

use crate::credentials::cache::{Answered, CredentialCache, Denial, Lookup};
use crate::eks_auth::exchange::EksAuthError;
use crate::serve::respond::{ConnectionRejected, Reply, Respond, text};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::refusal_log::RefusalLog;

/// Answers requests on the credentials addresses, with the official agent's texts.
#[derive(Debug)]
pub(crate) struct Router {
    cache: Arc<CredentialCache>,
    metrics: Arc<Metrics>,
    hosts: Hosts,
    log: RefusalLog,
}

impl Router {
    pub(crate) fn new(cache: Arc<CredentialCache>, metrics: Arc<Metrics>, hosts: Hosts) -> Self {
        Self {
            cache,
            metrics,
            hosts,
            log: RefusalLog::default(),
        }
    }

    /// The token to look for.
    fn token<'a, B>(&self, request: &'a Request<B>) -> Result<&'a [u8], Refusal> {
        if request.uri().path() != agent::PATH {
            return Err(Refusal::NotFound);
        }
        if request.method() != Method::GET {
            return Err(Refusal::Method);
        }
        self.hosts.check(request.headers())?;
        let token = request.headers().get(AUTHORIZATION);
        Ok(token.map(HeaderValue::as_bytes).unwrap_or_default())
    }

    fn found(&self, asked: Asked, answered: Answered) -> Response<Full<Bytes>> {
        match answered {
            Ok((body, lookup)) => {
                match lookup {
                    Lookup::Hit => self.metrics.count_hit(),
                    Lookup::Miss => self.metrics.count_miss(),
                }
                self.counted(asked, json(body))
            }
            Err(denial) => {
                let (kind, code) = denial.labels();
                self.metrics.count_cache_error(kind, code);
                self.refused(asked, Refusal::Denied(denial))
            }
        }
    }

    fn refused(&self, asked: Asked, refusal: Refusal) -> Response<Full<Bytes>> {
        let (reason, again_in) = (refusal.reason(), refusal.again_in());
        let (status, words) = refusal.words();
        if let Some(reason) = reason {
            self.metrics.count_refusal(reason);
            self.log.note(asked.at, asked.source, reason, &words);
        }
        self.counted(asked, refused(status, words, again_in))
    }

    fn counted(&self, asked: Asked, response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let took = asked.at.elapsed();
        self.metrics.count_response(response.status(), took);
        response
    }
}

/// When a request came, and from where.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    source: IpAddr,
}

impl Respond for Router {
    fn respond(&self, request: &Request<Incoming>, source: IpAddr) -> Reply<'_> {
        let asked = Asked {
            at: Instant::now(),
            source,
        };
        let token = match self.token(request) {
            Ok(token) => token,
            Err(refusal) => return Reply::Ready(self.refused(asked, refusal)),
        };
        match self.cache.answer(token, asked.source) {
            Either::Left(answered) => Reply::Ready(self.found(asked, answered.into_inner())),
            Either::Right(answered) => Reply::Pending(Box::pin(async move {
                let mut patience = Patience(Some(&self.metrics));
                let answered = answered.await;
                patience.0 = None;
                self.found(asked, answered)
            })),
        }
    }

    fn note_rejected(&self, rejected: ConnectionRejected, source: IpAddr) {
        let reason = match rejected {
            ConnectionRejected::TooMany => "Connections",
            ConnectionRejected::HeaderTooLarge => "TooLarge",
            ConnectionRejected::NotHttp => "Http",
        };
        self.metrics.count_refusal(reason);
        let message = rejected.to_string();
        self.log.note(Instant::now(), source, reason, &message);
    }
}

/// That of a client who waits: where it is dropped before it is emptied, the client has gone.
struct Patience<'a>(Option<&'a Metrics>);

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.count_given_up();
        }
    }
}

/// The names under which the agent may be called; others are refused, against DNS rebinding.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<IpAddr>);

impl Hosts {
    /// The two fixed addresses, and those that the agent was told to bind.
    pub(crate) fn new(bound: impl IntoIterator<Item = IpAddr>) -> Self {
        let fixed = [Endpoint::EKS_IPV4.into(), Endpoint::EKS_IPV6.into()];
        Self(fixed.into_iter().chain(bound).collect())
    }

    /// A port and brackets are taken off first; one SDK sends an IPv6 address without brackets.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let sent = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let known = |host: &str| host.parse().is_ok_and(|address| self.0.contains(&address));
        let without_port = sent.rsplit_once(':').map_or(sent, |(host, _port)| host);
        if known(unbracketed(sent)) || known(unbracketed(without_port)) {
            Ok(())
        } else {
            Err(Refusal::Host(unbracketed(without_port).to_owned()))
        }
    }
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Every answer that is not a set of credentials.
#[derive(Debug)]
enum Refusal {
    NotFound,
    Method,
    Host(String),
    Denied(Denial),
}

impl Refusal {
    /// In a word, where EKS Auth was not asked.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::NotFound => Some("Path"),
            Self::Method => Some("Method"),
            Self::Host(_) => Some("Host"),
            Self::Denied(denial) => denial.reason(),
        }
    }

    /// When to try again, for what may be different then.
    fn again_in(&self) -> Option<Duration> {
        match self {
            Self::Denied(Denial::Late(_, again_in)) => Some(*again_in),
            Self::Denied(Denial::OverBudget(_) | Denial::Busy) => Some(Duration::ZERO),
            _ => None,
        }
    }

    fn words(self) -> (StatusCode, String) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "404 page not found".to_owned()),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Method Not Allowed".to_owned(),
            ),
            Self::Host(host) => (
                StatusCode::FORBIDDEN,
                format!(
                    "Access Denied. Called agent through invalid address, please use either \
                     [169.254.170.23 fd00:ec2::23] address not {host}"
                ),
            ),
            Self::Denied(denial) => denied(&denial),
        }
    }
}

fn refused(status: StatusCode, words: String, again_in: Option<Duration>) -> Response<Full<Bytes>> {
    let mut response = text(status, words);
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    if let Some(again_in) = again_in {
        let seconds = again_in.as_secs_f64().ceil().clamp(1.0, 60.0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds as u64));
    }
    response
}

fn denied(denial: &Denial) -> (StatusCode, String) {
    match denial {
        Denial::Token(TokenError::Empty) => (
            StatusCode::BAD_REQUEST,
            "Service account token cannot be empty".to_owned(),
        ),
        Denial::Token(error) => (
            StatusCode::BAD_REQUEST,
            format!("Service account token cannot be parsed: {error}"),
        ),
        Denial::Claims(error) => (
            StatusCode::BAD_REQUEST,
            format!("Service account token failed basic claim validations: {error}"),
        ),
        Denial::EksAuth(error) | Denial::OverBudget(Some(error)) => {
            let status = match error {
                EksAuthError::Refused { status, .. } => StatusCode::from_u16(*status).ok(),
                _ => None,
            };
            (
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                error.to_string(),
            )
        }
        Denial::Late(Some(error), _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{error}; try again"),
        ),
        Denial::Late(None, _) => {
            let words = "EKS Auth has not answered in time; try again";
            (StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
        }
        Denial::OverBudget(None) => {
            let words =
                "this address has caused too many exchanges with EKS Auth lately; try again";
            (StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
        }
        Denial::Busy => {
            let words = "too many tokens wait for EKS Auth already; try again";
            (StatusCode::SERVICE_UNAVAILABLE, words.to_owned())
        }
    }
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_and_without_port_and_brackets() {
        let hosts = Hosts::new(["127.0.0.1".parse().unwrap()]);
        let check = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            hosts.check(&headers).is_ok()
        };
        for known in [
            "169.254.170.23",
            "169.254.170.23:80",
            "[fd00:ec2::23]",
            "[fd00:ec2::23]:80",
            "fd00:ec2::23",
            "[fd00:ec2:0::23]",
            "127.0.0.1:8080",
        ] {
            assert!(check(known), "{known}");
        }
        for unknown in [
            "",
            "localhost",
            "evil.example:80",
            "169.254.169.254",
            "[::1]:80",
            "169.254.170.23.evil",
        ] {
            assert!(!check(unknown), "{unknown}");
        }
    }
}
