//! A plain HTTP/1 client over one connection, and a mock at a fixed time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pod_identity_core::wire::eks_auth::path;
use pod_identity_core::{Clock, Timestamp};
use pod_identity_testkit::{MockEksAuth, SettableClock};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
pub(crate) const ROLE: &str = "arn:aws:iam::111122223333:role/teams/cart";

/// Starts a mock with an association for `shop/cart`. Returns it with its clock.
pub(crate) async fn shop() -> (MockEksAuth, Arc<SettableClock>) {
    let clock = Arc::new(SettableClock::at(NOW));
    let given: Arc<dyn Clock> = clock.clone();
    let eks = MockEksAuth::builder().clock(given).in_this_runtime();
    let eks = eks.start().await.unwrap();
    eks.associate("shop", "cart", ROLE);
    (eks, clock)
}

/// Returns a valid token for `shop/cart`.
pub(crate) fn token(eks: &MockEksAuth) -> String {
    eks.issuer()
        .token("shop", "cart")
        .pod("cart-0123456789")
        .mint(NOW)
}

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinSet<()>,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(eks: &MockEksAuth) -> io::Result<Self> {
        let stream = TcpStream::connect(eks.address()).await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            driver.await.ok();
        });
        Ok(Self { sender, connection })
    }

    pub(crate) async fn assume(
        &mut self,
        eks: &MockEksAuth,
        token: &str,
    ) -> hyper::Result<Answered> {
        self.post(&path(eks.cluster()), json!({ "token": token }).to_string())
            .await
    }

    pub(crate) async fn post(&mut self, path: &str, body: String) -> hyper::Result<Answered> {
        self.send(signed(path).body(body.into()).unwrap()).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answered> {
        let answer = self.sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        })
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(&mut self) {
        while self.connection.join_next().await.is_some() {}
    }
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.header("x-amzn-ErrorType")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// A POST with the headers of a signing client.
pub(crate) fn signed(path: &str) -> http::request::Builder {
    Request::post(path)
        .header("host", "eks-auth.test")
        .header("user-agent", "test/1")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIA/20260301/us-west-2/eks-auth/aws4_request",
        )
}

/// Sends one request over its own connection.
pub(crate) async fn assume(eks: &MockEksAuth, token: &str) -> Answered {
    Client::connect(eks)
        .await
        .unwrap()
        .assume(eks, token)
        .await
        .unwrap()
}

/// Fails a test that would otherwise hang. No test waits for it to pass.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it must happen soon")
}
