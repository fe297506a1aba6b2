//! Responses that are not from EKS Auth, incomplete, or from another time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pod_identity_core::{Clock, SystemClock, Timestamp};
use pod_identity_testkit::{Fault, Issuer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::support::client::{self, Client, Request as Ask};
use crate::support::process::{NODE_CREDENTIALS, Program, Server, address_of, arguments};
use crate::support::shop::{shop, token};
use crate::support::{HOUR, MINUTE, soon};
use crate::surroundings::certified;

#[tokio::test]
async fn an_error_without_an_aws_code_is_not_passed_on_with_its_status() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--answer-within", "100ms"]).await;
    for (status, body) in [
        (403, "<html>\nblocked by the proxy</html>"),
        (407, "proxy authentication required"),
        (413, "too large"),
        (403, r#"{"Message":"no endpoint policy allows it"}"#),
        (302, ""),
    ] {
        eks.inject_always(match status {
            302 => Fault::redirect(status, "http://portal.example/"),
            _ => Fault::text(status, body),
        });
        let answer = client::ask(server.credentials, Ask::with_token(&token(&eks))).await;
        answer.assert_try_again();
        assert!(
            body.is_empty() || !answer.body.contains(body),
            "{}",
            answer.body
        );
        let ready = soon(async {
            loop {
                let ready = client::ask(server.probes, Ask::of("/readyz")).await;
                if ready.body.contains(&format!("HTTP {status} ")) {
                    break ready;
                }
            }
        });
        let excerpt = body.replace('\n', " ");
        let ready = ready.await;
        assert!(ready.body.contains(&excerpt), "{}", ready.body);
        // Pods can ask there.
        let for_pods = client::ask(server.metrics, Ask::of("/readyz")).await.body;
        assert!(for_pods.contains(&format!("HTTP {status} ")), "{for_pods}");
        assert!(
            excerpt.is_empty() || !for_pods.contains(&excerpt),
            "{for_pods}"
        );
        eks.clear_faults();
        client::insist(server.credentials, &token(&eks)).await.key();
    }
    let log = &server.program.stdout;
    let said = log.says("EKS Auth does not give credentials now").await;
    let error = said["error"].as_str().unwrap();
    assert!(
        error.contains("HTTP 403 without an AWS error code"),
        "{error}"
    );
    assert!(error.contains("blocked by the proxy"), "{error}");
}

#[tokio::test]
async fn a_page_that_repeats_the_request_reveals_no_session_token() {
    let eks = shop().await;
    let session_token = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVzLXdlc3QtMiJGMEQCIH+abc=";
    let session = [("AWS_SESSION_TOKEN", session_token)];
    let environment = [&NODE_CREDENTIALS[..], &session].concat();
    let server = Server::with(&eks, &["--answer-within", "100ms"], &environment).await;
    let page = format!("<p>blocked: x-amz-security-token: {session_token}</p>");
    eks.inject_always(Fault::text(403, &page));
    let answer = client::ask(server.credentials, Ask::with_token(&token(&eks))).await;
    answer.assert_try_again();
    let log = &server.program.stdout;
    let line = log.says("EKS Auth does not give credentials now").await;
    let error = line["error"].as_str().unwrap();
    let ready = client::ask(server.probes, Ask::of("/readyz")).await.body;
    for text in [error, &ready] {
        let expected = "blocked: x-amz-security-token: <left out>";
        assert!(text.contains(expected), "{text}");
    }
    for text in [error, &ready, &answer.body] {
        assert!(!text.contains("IQoJb3"), "{text}");
    }
    let body = &answer.body;
    assert!(
        body.contains("HTTP 403 without") || body.contains("not answered"),
        "{body}"
    );
}

#[tokio::test]
async fn a_truncated_response_is_retried() {
    let good = success(SystemClock.now() + 6 * HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{good}",
            good.len()
        );
        let mut answer = &whole[..whole.len() - 10];
        while let Ok((mut stream, _agent)) = listener.accept().await {
            // The probe of readiness connects without a request.
            if read_request(&mut stream).await {
                stream.write_all(answer.as_bytes()).await.unwrap();
                answer = &whole;
            }
        }
    });
    let agent = Agent::start(&endpoint, &["--answer-within", "20s"], &[]).await;
    assert_eq!(agent.get().await.key(), "ASIASTANDIN");
}

#[tokio::test]
async fn an_endless_response_is_read_up_to_64_kib() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let written = Arc::new(AtomicUsize::new(0));
    let total = Arc::clone(&written);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _agent)) = listener.accept().await {
            if !read_request(&mut stream).await {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Ok(bytes) = stream.write(&[b' '; 64 * 1024]).await {
                total.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    });
    let agent = Agent::start(&endpoint, &["--answer-within", "100ms"], &[]).await;
    let log = &agent.program.stdout;
    let answer = client::ask(agent.address, Ask::with_token(&agent.token())).await;
    answer.assert_try_again();
    let said = log.says("EKS Auth does not give credentials now").await;
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("longer than 65536 bytes"), "{error}");
    // The rest is in the buffers of the kernel, for each attempt.
    let written = written.load(Ordering::Relaxed);
    assert!(written < 64 * 1024 * 1024, "{written}");
}

#[tokio::test]
async fn an_expiration_in_milliseconds_or_days_away_is_malformed() {
    let now = SystemClock.now();
    let millis = Timestamp::from_unix_secs(now.as_unix_millis());
    for expiration in [millis, now + 37 * HOUR] {
        let stand_in = StandIn::plain(move |_| success_at(expiration)).await;
        let agent = Agent::start(&stand_in.endpoint(), &["--answer-within", "20s"], &[]).await;
        let answer = agent.get().await;
        let message = "error getting credentials to cache: invalid response from server: \
                       credentials.expiration is more than 36 h away\n";
        answer.assert_text(500, message);
    }
}

#[tokio::test]
async fn a_frozen_connection_is_not_reused_over_http_1_and_2() {
    for protocol in ["http/1.1", "h2"] {
        let expiration = SystemClock.now() + 6 * HOUR;
        let stand_in = StandIn::tls(protocol, move |_| success_at(expiration)).await;
        let root = stand_in.root.path().join("ca.pem");
        let bundle = ("AWS_CA_BUNDLE", root.to_str().unwrap());
        let agent = Agent::start(&stand_in.endpoint(), &[], &[bundle]).await;
        agent.get().await.key();
        stand_in.freeze();
        let began = Instant::now();
        agent.get().await.key();
        assert!(began.elapsed() < 10 * Duration::from_secs(1), "{protocol}");
    }
}

#[tokio::test]
async fn clock_skew_is_corrected_and_the_whole_burst_is_answered() {
    let stand_in = StandIn::plain(|headers| {
        let ahead = SystemClock.now() + 10 * MINUTE;
        let signed_at = headers["x-amz-date"].to_str().unwrap();
        let bounds = [ahead - MINUTE, ahead + MINUTE].map(amz_date);
        let mut response = if *bounds[0] <= *signed_at && *signed_at <= *bounds[1] {
            success_at(ahead + 6 * HOUR)
        } else {
            let body = r#"{"message":"Signature expired"}"#;
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = http::StatusCode::FORBIDDEN;
            let code = "InvalidSignatureException".parse().unwrap();
            response.headers_mut().insert("x-amzn-errortype", code);
            let id = "stand-in".parse().unwrap();
            response.headers_mut().insert("x-amzn-requestid", id);
            response
        };
        let date = DateTime::from_secs(ahead.as_unix_millis() / 1000);
        let date = date.fmt(Format::HttpDate).unwrap();
        response.headers_mut().insert("date", date.parse().unwrap());
        response
    })
    .await;
    let agent = Agent::start(&stand_in.endpoint(), &["--answer-within", "30s"], &[]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(agent.address).await;
        client.send(Ask::with_token(&agent.token())).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.answer().await.key();
    }
    agent.get().await.key();
    let asked = stand_in.requests.load(Ordering::Relaxed);
    assert!(
        (22..=41).contains(&asked),
        "each of the burst at most twice: {asked}"
    );
    let log = &agent.program.stdout;
    let differs = "the node's clock differs from that of EKS Auth";
    log.says(differs).await;
    let said = log.said(differs);
    assert_eq!(said.len(), 1, "{said:?}");
    let behind = said[0]["behind-seconds"].as_i64().unwrap();
    assert!((598..=602).contains(&behind), "{behind}");
    let metrics = address_of(&agent.program, "metrics").await;
    let page = client::ask(metrics, Ask::of("/metrics")).await.body;
    let mut lines = page.lines();
    let skew = lines.find_map(|line| line.strip_prefix("pod_identity_clock_skew_seconds "));
    let skew: f64 = skew.expect("there must be a gauge").parse().unwrap();
    assert!((595.0..=605.0).contains(&skew), "{skew}");
}

/// The program with a replacement of EKS Auth.
struct Agent {
    program: Program,
    address: SocketAddr,
    issuer: Issuer,
}

impl Agent {
    async fn start(endpoint: &str, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let here = [
            ("AWS_REGION", "us-west-2"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = [&NODE_CREDENTIALS[..], &here, environment].concat();
        let arguments = [&arguments("test-cluster", endpoint)[..], flags].concat();
        let program = Program::start(&arguments, &environment);
        Self {
            address: address_of(&program, "credentials").await,
            program,
            issuer: Issuer::for_region("us-west-2"),
        }
    }

    /// Another one each time.
    fn token(&self) -> String {
        self.issuer.token("shop", "cart").mint(SystemClock.now())
    }

    async fn get(&self) -> client::Answer {
        client::insist(self.address, &self.token()).await
    }
}

type Answer = Response<Full<Bytes>>;

/// An EKS Auth with programmable answers, whose connections can freeze.
struct StandIn {
    address: SocketAddr,
    scheme: &'static str,
    root: tempfile::TempDir,
    requests: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    /// Connections before this one neither read nor write.
    frozen: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl StandIn {
    async fn plain(answer: impl Fn(&HeaderMap) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, answer).await
    }

    async fn tls(
        protocol: &str,
        answer: impl Fn(&HeaderMap) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(protocol.as_bytes().to_vec()), answer).await
    }

    async fn start(
        protocol: Option<Vec<u8>>,
        answer: impl Fn(&HeaderMap) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [requests, accepted, frozen] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let scheme = if protocol.is_some() { "https" } else { "http" };
        let is_http2 = protocol.as_deref() == Some(b"h2");
        let acceptor = protocol.map(|protocol| {
            let mut config = certified(&root.path().join("ca.pem"));
            config.alpn_protocols = vec![protocol];
            TlsAcceptor::from(Arc::new(config))
        });
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        let (count, numbers, until) = (requests.clone(), accepted.clone(), frozen.clone());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _agent)) = listener.accept().await {
                let stream = Freezing {
                    stream,
                    number: numbers.fetch_add(1, Ordering::Relaxed),
                    frozen: until.clone(),
                };
                let (answer, count) = (answer.clone(), count.clone());
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        count.fetch_add(1, Ordering::Relaxed);
                        let answer = answer(request.headers());
                        std::future::ready(Ok::<_, Infallible>(answer))
                    });
                    // A failure shows in the response of the client.
                    let _ended = match acceptor {
                        None => {
                            let stream = TokioIo::new(stream);
                            http1::Builder::new()
                                .serve_connection(stream, service)
                                .await
                        }
                        Some(acceptor) => {
                            // The readiness probe connects and disconnects.
                            let Ok(stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            let stream = TokioIo::new(stream);
                            if is_http2 {
                                let http2 = http2::Builder::new(TokioExecutor::new());
                                http2.serve_connection(stream, service).await
                            } else {
                                http1::Builder::new()
                                    .serve_connection(stream, service)
                                    .await
                            }
                        }
                    };
                });
            }
        });
        Self {
            address,
            scheme,
            root,
            requests,
            accepted,
            frozen,
            _serving: serving,
        }
    }

    fn endpoint(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    /// Freezes every connection that there is now.
    fn freeze(&self) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        self.frozen.store(accepted, Ordering::Relaxed);
    }
}

/// A connection that can freeze: it then stays open and transfers no more bytes.
struct Freezing {
    stream: TcpStream,
    number: usize,
    frozen: Arc<AtomicUsize>,
}

impl Freezing {
    fn is_frozen(&self) -> bool {
        self.number < self.frozen.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Freezing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.is_frozen() {
            // The bytes just read are lost.
            buffer.set_filled(before);
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for Freezing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.is_frozen() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Reads a request to its end; `false` where there is none.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    loop {
        match stream.read_buf(&mut read).await {
            Ok(1..) => {}
            _ => return false,
        }
        // The body is one JSON object with one member.
        if read.ends_with(b"\"}") {
            return true;
        }
    }
}

fn amz_date(at: Timestamp) -> String {
    let date = DateTime::from_secs(at.as_unix_millis() / 1000);
    date.fmt(Format::DateTime).unwrap().replace(['-', ':'], "")
}

fn success_at(expiration: Timestamp) -> Answer {
    let mut response = Response::new(Full::from(success(expiration)));
    let headers = response.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("x-amzn-requestid", "stand-in".parse().unwrap());
    response
}

fn success(expiration: Timestamp) -> String {
    serde_json::json!({
        "subject": {"namespace": "shop", "serviceAccount": "cart"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {
            "associationArn": "arn:aws:eks:us-west-2:111122223333:podidentityassociation/c/a-1",
            "associationId": "a-abcdefghijklmnopq",
        },
        "assumedRoleUser": {
            "arn": "arn:aws:sts::111122223333:assumed-role/cart/eks-c-cart-0",
            "assumeRoleId": "AROA:eks-c-cart-0",
        },
        "credentials": {
            "accessKeyId": "ASIASTANDIN",
            "secretAccessKey": "secret",
            "sessionToken": "token",
            "expiration": expiration.as_unix_millis() / 1000,
        },
    })
    .to_string()
}
