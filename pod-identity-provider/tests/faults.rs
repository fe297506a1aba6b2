//! What can go wrong between the provider and its agent, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use pod_identity_provider::{
    Endpoint, FetchError, Malformed, PodIdentityProvider, RefreshPolicy, Stage,
};
use support::{Agent, Reply, good_body};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One attempt, so that its error is the answer.
async fn failure(agent: &Agent) -> FetchError {
    let provider = agent
        .builder()
        .policy(RefreshPolicy::provider().with_attempts(1))
        .build()
        .unwrap();
    provider.credentials().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_says_where() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = Agent::on(listener, |_, _| Reply::Answer(200, good_body()));
    let (address, builder) = (agent.address, agent.builder());
    drop(agent);
    let error = builder.build().unwrap().credentials().await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }) && error.is_retryable());
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("{address} cannot be reached: no connection: ")),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reset_at_any_stage_is_retried() {
    for stage in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"Acc",
    ] {
        let agent = Agent::start(move |_, _| Reply::Reset(stage.to_owned())).await;
        let error = failure(&agent).await;
        assert!(
            matches!(error, FetchError::Unreachable { .. }),
            "{stage:?}: {error}"
        );
        assert!(
            error.to_string().contains("the exchange broke off: "),
            "{error}"
        );

        let agent = Agent::start(move |count, _| match count {
            1 => Reply::Reset(stage.to_owned()),
            _ => Reply::Answer(200, good_body()),
        })
        .await;
        agent
            .builder()
            .build()
            .unwrap()
            .credentials()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_not_http_or_ends_early_is_an_error() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for answer in [
        String::new(),
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        "HTTP/1.1 9999 No\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(5000),
        format!("{OK}content-length: 99999999999999999999999\r\n\r\n"),
        format!("{OK}content-length: -1\r\n\r\n"),
        format!("{OK}content-length: 1\r\ncontent-length: 2\r\n\r\n{{"),
        format!("{OK}content-length: 500\r\n\r\n{{\"AccessKeyId\""),
        format!("{OK}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{{"),
        format!("{OK}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{OK}x: {}\r\n\r\n", "x".repeat(500_000)),
        format!("{OK}{}\r\n", "x: y\r\n".repeat(5000)),
        format!("{OK}nul: \0\r\n\r\n"),
    ] {
        let shown: String = answer.chars().take(60).collect();
        let agent = Agent::start(move |_, _| Reply::Close(answer.clone())).await;
        let error = failure(&agent).await;
        assert!(
            matches!(error, FetchError::Unreachable { .. }),
            "{shown:?}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_at_any_stage_ends_with_the_attempt() {
    for stage in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"Acc",
    ] {
        let agent = Agent::start(move |_, _| Reply::Stall(stage.to_owned())).await;
        let error = failure(&agent).await;
        assert!(
            matches!(
                error,
                FetchError::TimedOut {
                    stage: Stage::Answer,
                    ..
                }
            ),
            "{stage:?}: {error}"
        );
        assert_eq!(
            error.to_string(),
            format!("no complete answer from {} within 5s", agent.address)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeouts_that_were_set_are_kept() {
    let agent = Agent::start(|_, _| Reply::Stall(String::new())).await;
    let policy = RefreshPolicy::provider().with_attempts(1);
    let builder = agent
        .builder()
        .policy(policy)
        .attempt_timeout(Duration::from_millis(700));
    let asked = tokio::time::Instant::now();
    let error = builder.build().unwrap().credentials().await.unwrap_err();
    assert!(error.to_string().ends_with("within 700ms"), "{error}");
    assert_eq!(asked.elapsed().as_millis() / 10, 70);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_accepted_times_out_of_its_own() {
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

#[tokio::test]
async fn a_body_beyond_64_kib_is_not_read() {
    let agent = Agent::start(|_, _| Reply::Answer(200, " ".repeat(64 * 1024) + &good_body())).await;
    assert!(matches!(
        failure(&agent).await,
        FetchError::Malformed(Malformed::TooLarge)
    ));
    let endless = || {
        Reply::Stall(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n{}",
            " ".repeat(70_000)
        ))
    };
    let agent = Agent::start(move |_, _| endless()).await;
    assert_eq!(
        failure(&agent).await.to_string(),
        "the answer cannot be used: its body is larger than 64 KiB"
    );
    let agent = Agent::start(|_, _| {
        Reply::Answer(
            200,
            " ".repeat(64 * 1024 - good_body().len()) + &good_body(),
        )
    })
    .await;
    agent
        .builder()
        .build()
        .unwrap()
        .credentials()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_chunked_body_is_understood() {
    let whole = good_body();
    let chunk = format!("{:x}\r\n{whole}\r\n0\r\n\r\n", whole.len());
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    let agent = Agent::start(move |_, _| Reply::Stall(answer.clone())).await;
    agent
        .builder()
        .build()
        .unwrap()
        .credentials()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_understood() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
        good_body()
    );
    let agent = Agent::start(move |_, _| Reply::Close(answer.clone())).await;
    agent
        .builder()
        .build()
        .unwrap()
        .credentials()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_status_but_200_is_a_refusal_of_the_right_kind() {
    for (status, retried) in [
        (201, false),
        (204, false),
        (301, false),
        (307, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (405, false),
        (408, true),
        (418, false),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (504, true),
        (599, true),
    ] {
        let agent = Agent::answering(status, "").await;
        let provider = agent.builder().build().unwrap();
        let error = provider.credentials().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} refused: HTTP {status}", agent.address)
        );
        assert_eq!(error.is_retryable(), retried, "{status}");
        assert_eq!(
            agent.received().len(),
            if retried { 3 } else { 1 },
            "{status}"
        );
    }
}
