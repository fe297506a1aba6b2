use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pod_identity_agent::{Agent, EksAuth, EksAuthError, Exchange, Listen, Session};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, Credentials, Failure, Secret, SystemClock};
use pod_identity_testkit::Issuer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Check, Target};

pub(super) const TARGET: Target = Target {
    name: "request",
    cases: 1_000,
    words: &[
        "GET ",
        "HEAD ",
        "POST ",
        "OPTIONS ",
        "/v1/credentials",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: 169.254.170.23\r\n",
        "Authorization: TOKEN\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n",
    ],
    check,
};

/// Whatever arrives at the agent's port: each answer is HTTP, there are no credentials without the token, and the next
/// client is served.
///
/// `TOKEN` stands for a token that EKS Auth accepts.
fn check() -> Check {
    let runtime = Runtime::new().expect("a runtime must start");
    let token = Issuer::new().token("shop", "cart").mint(SystemClock.now());
    let address = start(&runtime, &token);
    let good = format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    );
    let mut count = 0_u32;
    Box::new(move |input| {
        let sent = replaced(input, b"TOKEN", token.as_bytes());
        let answer = runtime.block_on(ask(address, &sent, Then::HangUp));
        if !answer.is_empty() {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&answer).expect("an answer must be HTTP");
            assert!(
                parsed.is_complete(),
                "an answer must be whole: {}",
                answer.escape_ascii()
            );
        }
        let has_token = input.windows(5).any(|part| part == b"TOKEN");
        assert!(
            has_token || !contains(&answer, b"SecretAccessKey"),
            "credentials without a token"
        );
        assert!(
            !contains(&answer, token.as_bytes()),
            "an answer quotes the token"
        );
        count += 1;
        if count % 16 == 1 {
            let answer = runtime.block_on(ask(address, good.as_bytes(), Then::Wait));
            assert!(
                answer.starts_with(b"HTTP/1.1 200 "),
                "{}",
                answer.escape_ascii()
            );
        }
    })
}

fn start(runtime: &Runtime, token: &str) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.expect("a port of loopback must be free");
    let address = listener
        .local_addr()
        .expect("a listening socket must have an address");
    let agent = Agent::builder(OneToken(token.to_owned()))
        // A busy machine must not cause a 503.
        .answer_within(PATIENCE)
        .listen(Listen::On(listener))
        .build();
    drop(runtime.spawn(agent.run(std::future::pending())));
    address
}

/// What a client does when it has sent its request.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Wait,
    /// It closes its side, so that nobody waits for the rest of a request.
    HangUp,
}

/// Sends it, and returns all that comes back.
async fn ask(address: SocketAddr, sent: &[u8], then: Then) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // The agent may close before it has read everything.
        let _refused = stream.write_all(sent).await;
        if then == Then::HangUp {
            let _refused = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchange).await;
    answer
        .expect("the agent must close a connection that has ended")
        .expect("the agent must accept a connection")
}

fn replaced(input: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const PATIENCE: Duration = Duration::from_secs(30);

/// EKS Auth that accepts one token.
#[derive(Debug)]
struct OneToken(String);

impl EksAuth for OneToken {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        let code = ErrorCode::InvalidToken;
        let secret = || Secret::from("a-secret-of-the-check".to_owned());
        let expires = SystemClock.now() + Duration::from_secs(6 * 3600);
        let exchanged = match token.expose() == self.0 {
            true => Ok(Session::new(
                Credentials::new("ASIAEXAMPLE", secret(), secret(), expires),
                "shop",
                "cart",
            )),
            false => Err(Failure::new(
                code.class(),
                EksAuthError::Refused {
                    status: code.status(),
                    code: code.name().to_owned(),
                    message: "not this one".to_owned(),
                    request_id: None,
                },
            )),
        };
        Box::pin(std::future::ready(exchanged))
    }
}
