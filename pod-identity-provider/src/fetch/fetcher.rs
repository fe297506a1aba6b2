use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use pod_identity_core::wire::agent::{self, DecodeError, ErrorResponse};
use pod_identity_core::{AuthorizationToken, Credentials, Endpoint, Failure, Host};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::error::unusable_addresses;
use crate::fetch::token_source::TokenSource;
use crate::panics::catch_panic;
use crate::{FetchError, MAX_BODY, Malformed, Resolve, Stage, Transport, TransportError};

/// The endpoint, and the steps of one attempt to fetch from it.
#[derive(Debug)]
pub(crate) struct Fetcher {
    endpoint: Endpoint,
    /// Host and port, for `Host` and for messages.
    name: Arc<str>,
    token: TokenSource,
    transport: Arc<dyn Transport>,
    resolver: Arc<dyn Resolve>,
}

type Answer = Response<Zeroizing<Vec<u8>>>;

impl Fetcher {
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

    /// Makes one attempt, from the token file to the end of the answer's body, within this time.
    pub(crate) async fn fetch(&self, within: Duration) -> Result<Credentials, Failure<FetchError>> {
        let deadline = Deadline {
            at: Instant::now() + within.min(LONGEST_ATTEMPT),
            within,
        };
        let failed = |error: FetchError| error.into_failure();
        let mut token = self.token(deadline).await.map_err(failed)?;
        let mut answer = self.send(token.as_ref(), deadline).await.map_err(failed)?;
        if may_be_about_the_token(answer.status())
            && let Ok(fresh) = self.token(deadline).await
            && fresh != token
        {
            token = fresh;
            answer = self.send(token.as_ref(), deadline).await.map_err(failed)?;
        }
        self.read(&answer, token.as_ref())
    }

    async fn token(&self, deadline: Deadline) -> Result<Option<AuthorizationToken>, FetchError> {
        let left = deadline.at.saturating_duration_since(Instant::now());
        Ok(self.token.read(left).await?)
    }

    async fn send(
        &self,
        token: Option<&AuthorizationToken>,
        deadline: Deadline,
    ) -> Result<Answer, FetchError> {
        let addresses = self.addresses(deadline).await?;
        let mut request = Request::get(self.endpoint.uri().clone())
            .header(HOST, &*self.name)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(())
            .expect("an endpoint must make a valid request");
        if let Some(token) = token {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, token.to_header_value());
        }
        let sent = async { self.transport.send(request, addresses).await };
        match self.limited(deadline, Stage::Answer, sent).await? {
            Ok(answer) => Ok(answer),
            Err(TransportError::ConnectTimedOut(after)) => {
                Err(self.timed_out(Stage::Connection, after))
            }
            Err(error) => Err(FetchError::Unreachable {
                endpoint: self.name.clone(),
                cause: Arc::new(error),
            }),
        }
    }

    async fn addresses(&self, deadline: Deadline) -> Result<Vec<SocketAddr>, FetchError> {
        let Host::Name(name) = self.endpoint.host() else {
            return self.endpoint.check_resolved([]).map_err(unusable_addresses);
        };
        let resolved = async { self.resolver.resolve(name).await };
        match self.limited(deadline, Stage::Addresses, resolved).await? {
            Ok(resolved) => self
                .endpoint
                .check_resolved(resolved)
                .map_err(unusable_addresses),
            Err(error) => Err(FetchError::Unresolved {
                host: name.as_str().into(),
                cause: Arc::new(error),
            }),
        }
    }

    /// Awaits code that the application may have supplied, until the deadline. A panic in it is an error.
    async fn limited<F: Future>(
        &self,
        deadline: Deadline,
        stage: Stage,
        future: F,
    ) -> Result<F::Output, FetchError> {
        match timeout_at(deadline.at, catch_panic(future)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(message)) => Err(FetchError::Panicked {
                message: message.into(),
            }),
            Err(_elapsed) => Err(self.timed_out(stage, deadline.within)),
        }
    }

    fn read(
        &self,
        answer: &Answer,
        sent: Option<&AuthorizationToken>,
    ) -> Result<Credentials, Failure<FetchError>> {
        let (status, body) = (answer.status(), answer.body());
        let sent = sent.map(AuthorizationToken::as_secret);
        let refused = |response| {
            let error = FetchError::Refused {
                endpoint: self.name.clone(),
                response: Arc::new(response),
            };
            Err(error.into_failure().with_retry_after(retry_after(answer)))
        };
        let malformed = |reason| Err(FetchError::Malformed(reason).into_failure());
        if status != StatusCode::OK {
            return refused(ErrorResponse::read(status.as_u16(), body, sent));
        }
        if body.len() > MAX_BODY {
            return malformed(Malformed::TooLarge);
        }
        match agent::decode(body, sent) {
            Ok(credentials) => Ok(credentials),
            Err(DecodeError::Refused(response)) => refused(response),
            Err(error) => malformed(Malformed::Body(error)),
        }
    }

    fn timed_out(&self, stage: Stage, after: Duration) -> FetchError {
        FetchError::TimedOut {
            endpoint: self.name.clone(),
            stage,
            after,
        }
    }
}

/// When an attempt has to end.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    /// How long the attempt may take in all, for messages.
    within: Duration,
}

/// A deadline further away than this is none, and could not be computed.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a refusal with this status may mean that kubelet has replaced the token since it was read.
fn may_be_about_the_token(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    )
}

/// Returns the host as written in the URI, with the port unless it is the default of the scheme.
fn host_header(endpoint: &Endpoint) -> String {
    let host = endpoint.uri().host().unwrap_or_default();
    let default_port = if endpoint.is_https() { 443 } else { 80 };
    match endpoint.port() {
        port if port == default_port => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

/// Reads `Retry-After` if it is a number of seconds.
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
