//! A client that sees every byte, and how a connection ends.

use std::sync::Arc;

use pod_identity_core::Clock;
use pod_identity_testkit::{MockAgent, MockAgentBuilder, SettableClock};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{NOW, soon};

/// Starts an agent whose clock is stopped at `NOW`.
pub(crate) fn at_rest() -> (MockAgentBuilder, Arc<SettableClock>) {
    let clock = Arc::new(SettableClock::at(NOW));
    let given: Arc<dyn Clock> = clock.clone();
    (MockAgent::builder().clock(given).in_this_runtime(), clock)
}

pub(crate) async fn agent() -> MockAgent {
    at_rest().0.start().await.unwrap()
}

pub(crate) struct Raw(TcpStream);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(agent: &MockAgent) -> Self {
        Self(TcpStream::connect(agent.address()).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Sends a request with the agent's own token.
    pub(crate) async fn ask(&mut self, agent: &MockAgent) {
        self.send(&get(agent.token().expose())).await;
    }

    /// Says that nothing more is sent.
    pub(crate) async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Returns the next `count` bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Returns the bytes that have arrived; none while the server waits.
    pub(crate) fn at_hand(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 100_000];
        let count = self.0.try_read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Returns the bytes up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match soon(self.0.read_to_end(&mut bytes)).await {
            Ok(_) => (bytes, End::Fin),
            Err(_reset) => (bytes, End::Reset),
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.bytes(1).await);
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads one answer with a length, after which the connection can be used again.
    pub(crate) async fn answer(&mut self) -> Seen {
        let head = self.head().await;
        let length = header(&head, "Content-Length").parse().unwrap();
        let body = self.bytes(length).await;
        Seen { head, body }
    }
}

impl Seen {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The value of a header as it is spelled, or nothing.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    head.split("\r\n").find_map(line).unwrap_or_default()
}

pub(crate) fn get(authorization: &str) -> String {
    format!(
        "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {authorization}\r\n\r\n"
    )
}

/// Sends one request with the agent's own token over its own connection.
pub(crate) async fn ask(agent: &MockAgent) -> Seen {
    ask_with(agent, agent.token().expose()).await
}

pub(crate) async fn ask_with(agent: &MockAgent, authorization: &str) -> Seen {
    let mut raw = Raw::connect(agent).await;
    raw.send(&get(authorization)).await;
    raw.answer().await
}
