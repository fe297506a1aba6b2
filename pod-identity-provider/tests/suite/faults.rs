//! What can go wrong between the provider and its agent, over real sockets: each with the error's text.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Pod, good_body, hours, minutes};
use pod_identity_provider::{
    BoxFuture, Endpoint, FetchError, PodIdentityProvider, RefreshPolicy, Resolve, Stage,
};
use pod_identity_testkit::Field::{AccessKeyId, AccountId, SecretAccessKey, Token};
use pod_identity_testkit::{
    Defect, Fault, Field as Member, MockAgent, Stage as At, TimeFormat, TokenDefect, TokenPolicy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_named_with_its_address() {
    let pod = Pod::start().await;
    pod.agent.stop().await;
    let error = pod.failure().await;
    assert!(matches!(error, FetchError::Unreachable { .. }) && error.is_retryable());
    let address = pod.agent.address();
    let refused = format!("{address} cannot be reached: no connection: Connection refused");
    assert!(error.to_string().starts_with(&refused), "{error}");

    pod.agent.restart().await.unwrap();
    pod.provider().credentials().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_at_any_stage_is_retried() {
    let closed = "connection closed before message completed";
    let in_body = "error reading a body from connection";
    for (fault, said) in [
        (Fault::close(At::BeforeHeaders), closed),
        (Fault::close(At::InHeaders), closed),
        (Fault::close(At::InBody), in_body),
        (
            Fault::reset(At::BeforeHeaders),
            "connection error: Connection reset by peer",
        ),
        (
            Fault::reset(At::InHeaders),
            "connection error: Connection reset by peer",
        ),
        (Fault::reset(At::InBody), in_body),
    ] {
        let pod = Pod::start().await;
        pod.agent.inject(fault.clone());
        let text = format!("cannot be reached: the exchange broke off: {said}");
        let complaint = pod.complaint().await;
        assert!(complaint.starts_with(&text), "{fault:?}: {complaint}");

        pod.agent.inject(fault);
        pod.provider().credentials().await.unwrap();
        assert_eq!(pod.agent.request_count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_the_response_does_no_harm() {
    let pod = Pod::start().await;
    let provider = pod.provider();
    pod.agent.inject_always(Fault::close(At::AfterBody));
    for _ in 0..3 {
        provider.refresh_now().await.unwrap();
        sleep(minutes(1)).await;
    }
    assert_eq!(pod.agent.connection_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stall_at_any_stage_ends_with_the_attempt() {
    for stage in [At::BeforeHeaders, At::InHeaders, At::InBody] {
        let pod = Pod::start().await;
        pod.agent.inject(Fault::stall(stage));
        let asked = Instant::now();
        let error = pod.failure().await;
        assert!(matches!(
            error,
            FetchError::TimedOut {
                stage: Stage::Answer,
                ..
            }
        ));
        let address = pod.agent.address();
        let said = format!("no complete answer from {address} within 5s");
        assert_eq!(error.to_string(), said, "{stage:?}");
        assert_eq!(asked.elapsed().as_millis() / 10, 500);
    }
    let pod = Pod::start().await;
    pod.agent.inject(Fault::stall(At::AfterBody));
    pod.provider().credentials().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_response_sent_byte_by_byte_has_the_same_timeout() {
    let pod = Pod::start().await;
    pod.agent.inject(Fault::drip(Duration::from_millis(50)));
    assert!(pod.complaint().await.ends_with("within 5s"));
    pod.agent.inject(Fault::drip(Duration::from_millis(1)));
    pod.provider().credentials().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn configured_timeouts_are_respected() {
    let pod = Pod::start().await;
    pod.agent.inject(Fault::stall(At::BeforeHeaders));
    let builder = pod
        .builder()
        .policy(RefreshPolicy::provider().with_attempts(1))
        .attempt_timeout(Duration::from_millis(700));
    let asked = Instant::now();
    let error = builder.build().unwrap().credentials().await.unwrap_err();
    assert!(error.to_string().ends_with("within 700ms"), "{error}");
    assert_eq!(asked.elapsed().as_millis() / 10, 70);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_accepted_has_its_own_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Linux drops further connections once a backlog of none is full, which is at one.
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _fills_the_backlog = TcpStream::connect(address).await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{address}/")).unwrap();
    let builder = PodIdentityProvider::builder().endpoint(endpoint).no_token();
    let provider = builder
        .policy(RefreshPolicy::provider().with_attempts(1))
        .build()
        .unwrap();
    let error = provider.credentials().await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::TimedOut {
                stage: Stage::Connection,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        format!("no connection to {address} within 1s")
    );
}

#[tokio::test(start_paused = true)]
async fn every_status_but_200_is_a_refusal_with_the_agents_message() {
    for (status, expected, attempts) in [
        (201, ": Created", 1),
        (204, "", 1),
        (400, DENIED, 1),
        (401, ": Unauthorized", 1),
        (403, WRONG_HOST, 1),
        (404, NO_ASSOCIATION, 1),
        (405, ": Method Not Allowed", 1),
        (408, ": Request Timeout", 5),
        (418, ": I'm a teapot", 1),
        (429, ": Too Many Requests", 5),
        (500, INTERNAL, 5),
        (502, ": Bad Gateway", 5),
        (503, UNAVAILABLE, 5),
        (504, ": Gateway Timeout", 5),
        (599, ": no words", 5),
    ] {
        let pod = Pod::start().await;
        pod.agent.inject_always(Fault::status(status));
        let said = without_request_id(&pod.complaint().await);
        assert_eq!(said, format!("refused: HTTP {status}{expected}"));
        let error = pod.provider().credentials().await.unwrap_err();
        assert_eq!(error.is_retryable(), attempts > 1, "{status}");
        assert_eq!(pod.agent.request_count(), 1 + attempts, "{status}");
    }
}

const DENIED: &str = ": [id]: (AccessDeniedException): Unauthorized Exception! EKS does not have \
    permissions to assume the associated role., fault: client";
const WRONG_HOST: &str = ": Access Denied. Called agent through invalid address, please use either \
    [169.254.170.23 fd00:ec2::23] address not localhost";
const NO_ASSOCIATION: &str = ": [id]: (ResourceNotFoundException): The token included in the request \
    has no service account role association for it., fault: client";
const INTERNAL: &str = ": [id]: (InternalServerException): These errors are usually caused by a \
    server-side issue., fault: server";
const UNAVAILABLE: &str = ": [id]: (ServiceUnavailableException): The service is unavailable. Back off \
    and retry the operation., fault: server";

fn without_request_id(text: &str) -> String {
    match (text.find('['), text.find("]: (")) {
        (Some(from), Some(to)) => format!("{}[id{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

// A redirect would take the token to a host that nobody has checked.
#[tokio::test(start_paused = true)]
async fn a_redirect_is_a_refusal_and_the_token_is_not_sent_elsewhere() {
    for status in [301, 302, 303, 307, 308] {
        let (pod, elsewhere) = (Pod::start().await, MockAgent::start().await);
        let fault = Fault::redirect(status, elsewhere.uri());
        pod.agent.inject(fault);
        let said = pod.complaint().await;
        let refused = format!("refused: HTTP {status}");
        assert!(said.starts_with(&refused), "{said}");
        assert_eq!(pod.agent.request_count(), 1);
        assert_eq!(elsewhere.connection_count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unusable_success_is_explained_and_retried() {
    let gone = |member| Fault::field(member, Defect::Missing);
    let not_json = "the body is not the expected JSON object (line 1, column ";
    let expired = "fetched credentials are expired or will expire within the next ";
    for (fault, said) in [
        (Fault::malformed(), not_json),
        (Fault::empty(), not_json),
        (Fault::html(), not_json),
        (Fault::gzip(), not_json),
        (Fault::byte_order_mark(), not_json),
        (
            Fault::expiration(TimeFormat::EpochSeconds),
            "Expiration is a number, not a text",
        ),
        (
            Fault::field(Token, Defect::WrongType),
            "Token is an array, not a text",
        ),
        (gone(AccessKeyId), "AccessKeyId is missing or empty"),
        (gone(SecretAccessKey), "SecretAccessKey is missing or empty"),
        (gone(Token), "Token is missing or empty"),
        (gone(Member::Expiration), "Expiration is missing or empty"),
        (
            Fault::field(AccessKeyId, Defect::Empty),
            "AccessKeyId is missing or empty",
        ),
        (
            Fault::field(SecretAccessKey, Defect::Null),
            "SecretAccessKey is missing or empty",
        ),
        (Fault::expired_for(hours(1)), expired),
        (Fault::expires_in(Duration::from_secs(10)), expired),
        (Fault::oversize(), "its body is larger than 64 KiB"),
    ] {
        let pod = Pod::start().await;
        pod.agent.inject(fault.clone());
        let error = pod.failure().await;
        assert!(matches!(error, FetchError::Malformed(_)), "{fault:?}");
        let text = format!("the answer cannot be used: {said}");
        assert!(error.to_string().starts_with(&text), "{fault:?}: {error}");

        pod.agent.inject(fault);
        pod.provider().credentials().await.unwrap();
        assert_eq!(pod.agent.request_count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_in_another_format_is_accepted() {
    for fault in [
        Fault::field(AccessKeyId, Defect::LowerCase),
        Fault::field(SecretAccessKey, Defect::UpperCase),
        Fault::field(Token, Defect::Renamed("SessionToken".to_owned())),
        Fault::field(AccountId, Defect::Renamed("AccountID".to_owned())),
        Fault::field(Member::Expiration, Defect::Renamed("ExpiresAt".to_owned())),
        Fault::field(AccountId, Defect::Missing),
        Fault::expiration(TimeFormat::Offset),
        Fault::expiration(TimeFormat::Nanoseconds),
        Fault::chunked(),
    ] {
        let pod = Pod::start().await;
        pod.agent.inject(fault);
        let credentials = pod.provider().credentials().await.unwrap();
        assert_eq!(pod.agent.served(), [credentials.access_key_id()]);
    }
}

#[tokio::test]
async fn invalid_http_is_an_error() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for answer in [
        String::new(),
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        "HTTP/1.1 9999 No\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(5000),
        format!("{OK}content-length: 99999999999999999999999\r\n\r\n"),
        format!("{OK}content-length: -1\r\n\r\n"),
        format!("{OK}content-length: 1\r\ncontent-length: 2\r\n\r\n{{"),
        format!("{OK}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{{"),
        format!("{OK}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{OK}x: {}\r\n\r\n", "x".repeat(500_000)),
        format!("{OK}{}\r\n", "x: y\r\n".repeat(5000)),
        format!("{OK}nul: \0\r\n\r\n"),
    ] {
        let shown: String = answer.chars().take(60).collect();
        let stranger = Stranger::saying(answer).await;
        let error = stranger.provider().credentials().await.unwrap_err();
        assert!(
            matches!(error, FetchError::Unreachable { .. }),
            "{shown:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_accepted() {
    let body = good_body();
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
    let stranger = Stranger::saying(answer).await;
    stranger.provider().credentials().await.unwrap();
}

/// Something that is no agent, on the agent's port: to everybody who connects it says these bytes, which
/// need not be HTTP, and closes.
struct Stranger {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Stranger {
    async fn saying(bytes: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Unread bytes of the request would reset the connection. The request is one write.
                let mut request = [0; 4096];
                let _read = stream.read(&mut request).await;
                let _left = stream.write_all(bytes.as_bytes()).await;
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }

    /// One attempt, so that its error is the answer.
    fn provider(&self) -> PodIdentityProvider {
        let endpoint = Endpoint::parse(&format!("http://{}/", self.address)).unwrap();
        let builder = PodIdentityProvider::builder().endpoint(endpoint).no_token();
        let policy = RefreshPolicy::provider().with_attempts(1);
        builder.policy(policy).build().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_64_kib_is_not_read() {
    let padded = |length: usize| " ".repeat(length - good_body().len()) + &good_body();
    let pod = Pod::start().await;
    pod.agent.inject(Fault::body(padded(64 * 1024)));
    pod.provider().credentials().await.unwrap();

    let too_large = "the answer cannot be used: its body is larger than 64 KiB";
    pod.agent.inject(Fault::body(padded(64 * 1024 + 1)));
    assert_eq!(pod.complaint().await, too_large);

    for framing in [None, Some(Fault::chunked())] {
        if let Some(framing) = framing {
            pod.agent.inject(framing);
        }
        // Half of it comes, the rest never does.
        pod.agent.inject(Fault::stall(At::InBody));
        pod.agent.inject(Fault::body(padded(1 << 20)));
        assert_eq!(pod.complaint().await, too_large);
    }
}

/// Every other answer is none, in two ways.
#[derive(Debug)]
struct Flapping(AtomicUsize);

impl Resolve for Flapping {
    fn resolve<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let answer = match self.0.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => Err(io::Error::other("no such host")),
            2 => Ok(Vec::new()),
            _ => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        };
        Box::pin(async { answer })
    }
}

#[tokio::test(start_paused = true)]
async fn a_flapping_host_name_fails_no_caller() {
    let pod = Pod::with(|agent| agent.allow_host("agent.internal")).await;
    let port = pod.agent.address().port();
    let uri = format!("http://agent.internal:{port}/v1/credentials");
    let flapping_from = |first| {
        let endpoint = Endpoint::parse(&uri).unwrap();
        let names = Arc::new(Flapping(AtomicUsize::new(first)));
        pod.builder().endpoint(endpoint).resolver(names)
    };
    for (first, said) in [(0, "no such host"), (2, "it has no address")] {
        let policy = RefreshPolicy::provider().with_attempts(1);
        let provider = flapping_from(first).policy(policy).build().unwrap();
        let error = provider.credentials().await.unwrap_err();
        let text = format!("agent.internal cannot be resolved: {said}");
        assert_eq!(error.to_string(), text);
        provider.credentials().await.unwrap();
    }

    let provider = flapping_from(0).build().unwrap();
    for _ in 0..360 {
        provider.credentials().await.unwrap();
        sleep(minutes(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_replaced_is_read_again() {
    let pod = Pod::with(|agent| agent.token_policy(TokenPolicy::Current)).await;
    pod.agent.expect().token_reread().no_bearer_prefix();
    let provider = pod.provider();
    for _ in 0..5 {
        provider.refresh_now().await.unwrap();
        sleep(hours(20)).await;
        pod.agent.rotate();
    }
}

#[tokio::test(start_paused = true)]
async fn a_defective_token_file_is_named_in_the_error_and_nothing_is_sent() {
    let not_text = "is not a token: it holds bytes that no header may carry";
    let missing = "does not exist; is the projected token volume mounted in this container?";
    for (defect, said) in [
        (TokenDefect::Empty, "is empty"),
        (TokenDefect::ByteOrderMark, not_text),
        (TokenDefect::NotUtf8, not_text),
        (
            TokenDefect::TooLarge,
            "is larger than 64 KiB and so not a token",
        ),
        (TokenDefect::Missing, missing),
        (TokenDefect::DanglingLink, missing),
        (
            TokenDefect::Directory,
            "is a directory; name the file in it",
        ),
    ] {
        let pod = Pod::start().await;
        let volume = pod.agent.volume();
        volume.spoil(defect).unwrap();
        let path = volume.token_path().display();
        assert_eq!(pod.complaint().await, format!("token file {path}: {said}"));
        assert_eq!(pod.agent.connection_count(), 0);
        pod.agent.rotate();
        pod.provider().credentials().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_token_file_is_an_error_with_the_remedy() {
    let pod = Pod::start().await;
    let volume = pod.agent.volume();
    volume.spoil(TokenDefect::Unreadable).unwrap();
    let path = volume.token_path().display();
    let said = "permission denied; a container that does not run as root may need fsGroup";
    match std::fs::read(volume.token_path()) {
        // The superuser can read everything.
        Ok(_) => drop(pod.provider().credentials().await.unwrap()),
        Err(_) => assert_eq!(pod.complaint().await, format!("token file {path}: {said}")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_file_can_end_with_a_line_feed() {
    for defect in [TokenDefect::Newline, TokenDefect::CrLf] {
        let pod = Pod::with(|agent| agent.token_policy(TokenPolicy::Current)).await;
        pod.agent.volume().spoil(defect).unwrap();
        pod.provider().credentials().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_token_is_an_error_until_it_is_complete() {
    let pod = Pod::start().await;
    let volume = pod.agent.volume();
    let mut writing = volume.write_in_place(pod.agent.token().expose()).unwrap();
    let path = volume.token_path().display();
    let empty = format!("token file {path}: is empty");
    assert_eq!(pod.complaint().await, empty);
    writing.advance(100).unwrap();
    let half = "refused: HTTP 400: Service account token cannot be parsed: token is malformed: \
        token contains an invalid number of segments";
    assert_eq!(pod.complaint().await, half);
    writing.finish().unwrap();
    pod.provider().credentials().await.unwrap();
}

// A refusal may be about a token that kubelet has just replaced, so it is tried once more, at once, if the file
// has other bytes than were sent.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_replaced_while_it_is_refused_is_tried_at_once() {
    let pod = Pod::with(|agent| agent.token_policy(TokenPolicy::Current)).await;
    let gate = pod.agent.gate();
    pod.agent.inject(Fault::text(401, "token is expired"));
    let provider = pod.provider();
    let (credentials, ()) = tokio::join!(provider.credentials(), async {
        gate.wait_for(1).await;
        pod.agent.rotate();
        gate.release();
    });
    credentials.unwrap();
    assert_eq!(pod.agent.request_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_step_of_an_hour_fails_no_caller() {
    for step in [3600, -3600] {
        let pod = Pod::with(|agent| agent.lifetime(minutes(50))).await;
        let provider = pod.provider();
        provider.warm_up().await.unwrap();
        pod.clock.step(step);
        for _ in 0..600 {
            provider.credentials().await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
        pod.clock.step(-step);
        for _ in 0..600 {
            provider.credentials().await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(provider.state().consecutive_failures, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_reported_if_no_set_seems_valid() {
    let pod = Pod::with(|agent| agent.lifetime(minutes(50))).await;
    pod.clock.step(3600);
    let said = "the answer cannot be used: fetched credentials are expired or will expire within the \
        next 0.00 seconds";
    assert_eq!(pod.complaint().await, said);
    pod.clock.step(-7200);
    pod.provider().credentials().await.unwrap();
}
