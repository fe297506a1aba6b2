use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use pod_identity_core::wire::agent::{self, AllowedHosts, Refusal};
use tokio::time::Instant;

use crate::credentials::cache::CredentialCache;
use crate::credentials::denial::Denial;
use crate::credentials::state::Lookup;
use crate::serve::respond::{ConnectionRejected, Reply, Respond};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::refusal_log::RefusalLog;

/// Answers `GET /v1/credentials`, and refuses all other requests with the official agent's texts.
#[derive(Debug)]
pub(crate) struct CredentialsHandler {
    cache: Arc<CredentialCache>,
    metrics: Arc<Metrics>,
    hosts: AllowedHosts,
    refusal_log: RefusalLog,
}

impl CredentialsHandler {
    pub(crate) fn new(
        cache: Arc<CredentialCache>,
        metrics: Arc<Metrics>,
        hosts: AllowedHosts,
    ) -> Self {
        Self {
            cache,
            metrics,
            hosts,
            refusal_log: RefusalLog::default(),
        }
    }

    /// The token of a request that asks for credentials; empty if there is none.
    fn token<'a, B>(&self, request: &'a Request<B>) -> Result<&'a [u8], Denial> {
        if request.uri().path() != agent::PATH {
            return Err(Refusal::NotFound.into());
        }
        if request.method() != Method::GET {
            return Err(Refusal::MethodNotAllowed.into());
        }
        check_host(&self.hosts, request)?;
        let token = request.headers().get(AUTHORIZATION);
        Ok(token.map(HeaderValue::as_bytes).unwrap_or_default())
    }

    fn granted(&self, arrived: Instant, body: Bytes) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.metrics
            .count_response(StatusCode::OK, arrived.elapsed());
        response
    }

    fn denied(&self, arrived: Instant, address: IpAddr, denial: &Denial) -> Response<Full<Bytes>> {
        if let Some((kind, code)) = denial.labels() {
            self.metrics.count_cache_error(kind, code);
        }
        if let Some(reason) = denial.reason() {
            self.metrics.count_refusal(reason);
            let message = denial.message();
            self.refusal_log.note(arrived, address, reason, &message);
        }
        let response = denial.response();
        self.metrics
            .count_response(response.status(), arrived.elapsed());
        response
    }
}

impl Respond for CredentialsHandler {
    fn respond(&self, request: &Request<Incoming>, address: IpAddr) -> Reply<'_> {
        let arrived = Instant::now();
        let found = self
            .token(request)
            .and_then(|token| self.cache.look_up(token, address));
        match found {
            Ok(Lookup::Ready(body)) => {
                self.metrics.count_hit();
                Reply::Ready(self.granted(arrived, body))
            }
            Ok(Lookup::Pending(pending)) => Reply::Pending(Box::pin(async move {
                let guard = ClientGoneGuard::new(&self.metrics);
                let outcome = self.cache.wait(pending, address).await;
                guard.disarm();
                match outcome {
                    Ok(body) => {
                        self.metrics.count_miss();
                        self.granted(arrived, body)
                    }
                    Err(denial) => self.denied(arrived, address, &denial),
                }
            })),
            Err(denial) => Reply::Ready(self.denied(arrived, address, &denial)),
        }
    }

    fn note_rejected(&self, rejected: ConnectionRejected, address: IpAddr) {
        let reason = match rejected {
            ConnectionRejected::TooMany | ConnectionRejected::TooManyRequests => "Connections",
            ConnectionRejected::HeaderTooLarge => "TooLarge",
            ConnectionRejected::NotHttp => "Http",
        };
        self.metrics.count_refusal(reason);
        let message = rejected.to_string();
        self.refusal_log
            .note(Instant::now(), address, reason, &message);
    }

    fn note_gone(&self) {
        self.metrics.count_given_up();
    }
}

/// Counts a client that disconnected before its answer: hyper then drops the future of the answer, and
/// with it this guard, still armed.
struct ClientGoneGuard<'a>(Option<&'a Metrics>);

impl<'a> ClientGoneGuard<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self(Some(metrics))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ClientGoneGuard<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.count_given_up();
        }
    }
}

/// Checks the host that a request is for: that of its target if it has one, and then the `Host` header is
/// ignored. Source: RFC 9112 §3.2.
fn check_host<B>(hosts: &AllowedHosts, request: &Request<B>) -> Result<(), Denial> {
    let mut headers = request.headers().get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(Denial::RepeatedHost);
    }
    // HTTP/1.0 has no such header.
    if header.is_none() && request.version() != Version::HTTP_10 {
        return Err(Denial::MissingHost);
    }
    let host = match request.uri().host() {
        Some(host) => host,
        None => header
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    };
    Ok(hosts.check(host)?)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use pod_identity_core::TokenError;

    use super::*;
    use crate::credentials::cache::tests::{POD, Running};
    use crate::telemetry::metrics::Reading;

    fn handler() -> CredentialsHandler {
        let agent = Running::start(None, |_| {});
        let hosts = AllowedHosts::new([]);
        CredentialsHandler::new(agent.cache, agent.metrics, hosts)
    }

    /// The series of these labels that are not 0.
    fn counted(handler: &CredentialsHandler, labels: &[&str]) -> Vec<String> {
        let page = handler.metrics.render(&Reading::default());
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter(|line| !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_get_of_the_path_from_an_allowed_host_is_a_request_for_credentials() {
        let handler = handler();
        let ask = |method: &str, uri: &str, hosts: &[&str], token: Option<&str>| {
            let mut request = Request::builder().method(method).uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, token);
            }
            let request = request.body(()).unwrap();
            handler.token(&request).map(<[u8]>::to_vec)
        };
        let (path, own) = ("/v1/credentials", "169.254.170.23");
        assert_eq!(
            ask("GET", path, &[own], Some("a.b.c")),
            Ok(b"a.b.c".to_vec())
        );
        assert_eq!(ask("GET", path, &[own], None), Ok(Vec::new()));
        let absolute = "http://169.254.170.23/v1/credentials";
        assert_eq!(
            ask("GET", absolute, &["rebound.example"], None),
            Ok(Vec::new())
        );
        assert_eq!(ask("GET", "/", &[own], None), Err(Refusal::NotFound.into()));
        let not_allowed = Refusal::MethodNotAllowed;
        assert_eq!(ask("POST", path, &[own], None), Err(not_allowed.into()));
        assert_eq!(
            ask("GET", path, &[own, own], None),
            Err(Denial::RepeatedHost)
        );
        assert_eq!(ask("GET", path, &[], None), Err(Denial::MissingHost));
        assert_eq!(ask("GET", absolute, &[], None), Err(Denial::MissingHost));
        for hosts in [&["rebound.example"][..], &[]] {
            let refused = ask("GET", path, hosts, Some("a.b.c"));
            assert_eq!(refused.unwrap_err().reason(), Some("Host"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_sent_as_json_that_nobody_stores() {
        let handler = handler();
        let response = handler.granted(Instant::now(), Bytes::from_static(b"{}"));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "{}"
        );
        assert_eq!(counted(&handler, &["http_response", "200"]).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gets_nothing_is_counted_by_the_reason() {
        let handler = handler();
        let denial = Denial::from(TokenError::Unsigned);
        let response = handler.denied(Instant::now(), POD, &denial);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(counted(&handler, &["http_response", "400"]).len(), 1);
        assert_eq!(counted(&handler, &["refusals", "Unsigned"]).len(), 1);
        assert_eq!(
            counted(&handler, &["cache_errors", "token", "Unsigned"]).len(),
            1
        );
        handler.note_rejected(ConnectionRejected::TooMany, POD);
        assert_eq!(counted(&handler, &["refusals", "Connections"]).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_gives_up_before_its_answer_is_counted() {
        let handler = handler();
        let gave_up = || counted(&handler, &["cache_errors", "client", "GaveUp"]);
        ClientGoneGuard::new(&handler.metrics).disarm();
        assert_eq!(gave_up(), [""; 0]);
        drop(ClientGoneGuard::new(&handler.metrics));
        assert!(gave_up()[0].ends_with(" 1"));
        handler.note_gone();
        assert!(gave_up()[0].ends_with(" 2"));
    }
}
