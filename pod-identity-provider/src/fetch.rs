use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use pod_identity_core::wire::agent::{self, ErrorResponse};
use pod_identity_core::{Credentials, Endpoint, Failure, Host, Secret};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::vetting;
use crate::token_source::{TokenSource, header};
use crate::{FetchError, MAX_BODY, Malformed, Resolve, Stage, Transport, TransportError};

/// Where credentials are fetched, and how one attempt goes.
#[derive(Debug)]
pub(crate) struct Source {
    endpoint: Endpoint,
    /// Host and port, for `Host` and for messages.
    name: Arc<str>,
    token: TokenSource,
    transport: Arc<dyn Transport>,
    resolver: Arc<dyn Resolve>,
}

type Answer = Response<Zeroizing<Vec<u8>>>;

impl Source {
    pub(crate) fn new(
        endpoint: Endpoint,
        token: TokenSource,
        transport: Arc<dyn Transport>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        Self {
            name: host_header(&endpoint).into(),
            endpoint,
            token,
            transport,
            resolver,
        }
    }

    /// One attempt, from the token file to the end of the answer's body.
    pub(crate) async fn fetch(&self, within: Duration) -> Result<Credentials, Failure<FetchError>> {
        match timeout(within, self.attempt()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.timed_out(Stage::Answer, within).into_failure()),
        }
    }

    async fn attempt(&self) -> Result<Credentials, Failure<FetchError>> {
        let failed = |error: FetchError| error.into_failure();
        let mut token = self.token.read().map_err(|error| failed(error.into()))?;
        let mut answer = self.send(token.as_ref()).await.map_err(failed)?;
        if may_be_about_the_token(answer.status())
            && let Ok(fresh) = self.token.read()
            && fresh != token
        {
            token = fresh;
            answer = self.send(token.as_ref()).await.map_err(failed)?;
        }
        self.read(&answer, token.as_ref())
    }

    async fn send(&self, token: Option<&Secret>) -> Result<Answer, FetchError> {
        let addresses = self.addresses().await?;
        let mut request = Request::get(self.endpoint.uri().clone())
            .header(HOST, &*self.name)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(())
            .expect("an endpoint must make a valid request");
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, header(token));
        }
        self.transport
            .send(request, addresses)
            .await
            .map_err(|error| match error {
                TransportError::ConnectTimedOut(after) => self.timed_out(Stage::Connection, after),
                error => FetchError::Unreachable {
                    endpoint: self.name.clone(),
                    source: Arc::new(error),
                },
            })
    }

    async fn addresses(&self) -> Result<Vec<std::net::SocketAddr>, FetchError> {
        let resolved = match self.endpoint.host() {
            Host::Name(name) => {
                self.resolver
                    .resolve(name)
                    .await
                    .map_err(|error| FetchError::Unresolved {
                        host: name.as_str().into(),
                        source: Arc::new(error),
                    })?
            }
            _ => Vec::new(),
        };
        self.endpoint.vet(resolved).map_err(vetting)
    }

    fn read(
        &self,
        answer: &Answer,
        sent: Option<&Secret>,
    ) -> Result<Credentials, Failure<FetchError>> {
        let body = answer.body();
        if answer.status() != StatusCode::OK {
            let refusal = ErrorResponse::read(answer.status().as_u16(), body, sent);
            let error = FetchError::Refused {
                endpoint: self.name.clone(),
                refusal: Arc::new(refusal),
            };
            return Err(error.into_failure().with_retry_after(retry_after(answer)));
        }
        let malformed = |reason| Err(FetchError::Malformed(reason).into_failure());
        if body.len() > MAX_BODY {
            return malformed(Malformed::TooLarge);
        }
        agent::decode(body).or_else(|error| malformed(Malformed::Body(error)))
    }

    fn timed_out(&self, stage: Stage, after: Duration) -> FetchError {
        FetchError::TimedOut {
            endpoint: self.name.clone(),
            stage,
            after,
        }
    }
}

/// A refusal with one of these may mean that kubelet has just replaced the token.
fn may_be_about_the_token(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    )
}

/// The URI's host as written there, with the port unless it is the scheme's own.
fn host_header(endpoint: &Endpoint) -> String {
    let host = endpoint.uri().host().unwrap_or_default();
    let default_port = if endpoint.is_https() { 443 } else { 80 };
    match endpoint.port() {
        port if port == default_port => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

/// `Retry-After` in its form of seconds.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_as_in_the_uri_with_the_port_unless_it_is_the_schemes_own() {
        for (uri, host) in [
            ("http://169.254.170.23/v1/credentials", "169.254.170.23"),
            ("http://169.254.170.23:80/", "169.254.170.23"),
            ("http://[fd00:ec2::23]/v1/credentials", "[fd00:ec2::23]"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://localhost:443/", "localhost:443"),
            ("https://agent.internal/", "agent.internal"),
            ("https://agent.internal:443/", "agent.internal"),
            ("https://agent.internal:80/", "agent.internal:80"),
        ] {
            assert_eq!(host_header(&Endpoint::parse(uri).unwrap()), host, "{uri}");
        }
    }

    #[test]
    fn a_retry_after_in_seconds_is_read_and_any_other_ignored() {
        for (value, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("-1", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            let answer = Response::builder()
                .header(RETRY_AFTER, value)
                .body(Zeroizing::default())
                .unwrap();
            assert_eq!(
                retry_after(&answer),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
