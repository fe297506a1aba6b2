use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// A request as it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) token: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Returns the request of an SDK.
    pub(crate) fn with_token(token: &'a str) -> Self {
        Self {
            token: Some(token),
            ..Self::of("/v1/credentials")
        }
    }

    /// A GET without a token.
    pub(crate) fn of(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            host: "169.254.170.23",
            token: None,
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self {
            method, path, host, ..
        } = self;
        let authorization = match self.token {
            Some(token) => format!("Authorization: {token}\r\n"),
            None => String::new(),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n")
    }
}

/// An answer as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    /// Returns the access key id of a success.
    #[track_caller]
    pub(crate) fn key(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()["AccessKeyId"].as_str().unwrap().to_owned()
    }

    /// Asserts that the client is to retry: every SDK retries a 503.
    #[track_caller]
    pub(crate) fn assert_try_again(&self) {
        assert_eq!(self.status, 503, "{}", self.body);
        let seconds = self.header("retry-after").expect("Retry-After must be set");
        assert!(seconds.parse::<u32>().unwrap() >= 1, "{seconds}");
        assert!(self.body.ends_with("; try again\n"), "{}", self.body);
    }

    /// Asserts that it is plain text as Go's `http.Error` writes it.
    #[track_caller]
    pub(crate) fn assert_text(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, text));
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
    }
}

/// One keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were read and belong to the next answer.
    rest: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// Connects as a pod with its own address; see [`pod`](super::pod).
    pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// Sends these bytes, unless the server has closed the connection.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _refused = self.stream.write_all(bytes).await;
    }

    /// Sends the request.
    pub(crate) async fn send(&mut self, request: Request<'_>) {
        let text = request.text();
        // A server that refuses may have closed its side already; its answer shows it.
        let _refused = self.stream.write_all(text.as_bytes()).await;
    }

    /// Sends the request and closes this side, so that both arrive together: an agent on this thread runs only
    /// afterwards.
    pub(crate) fn send_last(&mut self, request: Request<'_>) {
        let text = request.text();
        let sent = self.stream.try_write(text.as_bytes()).unwrap();
        assert_eq!(sent, text.len());
        let socket = SockRef::from(&self.stream);
        socket.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        soon(self.read(true)).await
    }

    /// Waits until an answer begins, or the server has closed the connection without one.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let read = soon(self.stream.read_buf(&mut self.rest)).await;
        matches!(read, Ok(1..))
    }

    pub(crate) async fn ask(&mut self, request: Request<'_>) -> Answer {
        self.send(request).await;
        soon(self.read(request.method != "HEAD")).await
    }

    /// Waits until the server has closed the connection, which must be soon.
    pub(crate) async fn closed(&mut self) {
        soon(self.until_closed()).await;
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn until_closed(&mut self) {
        let mut byte = [0];
        let read = self.stream.read(&mut byte).await;
        assert!(matches!(read, Ok(0) | Err(_)), "unexpected bytes");
    }

    async fn read(&mut self, has_body: bool) -> Answer {
        let end = loop {
            match find(&self.rest, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more().await,
            }
        };
        let head = String::from_utf8(self.rest.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut answer = Answer {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: String::new(),
        };
        if has_body {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            while self.rest.len() < length {
                self.more().await;
            }
            answer.body = String::from_utf8(self.rest.drain(..length).collect()).unwrap();
        }
        answer
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.rest).await.unwrap();
        assert!(read > 0, "the connection ended without an answer");
    }
}

/// Sends one request over its own connection.
pub(crate) async fn ask(address: SocketAddr, request: Request<'_>) -> Answer {
    soon(Client::connect(address)).await.ask(request).await
}

/// The same, as a pod with its own address.
pub(crate) async fn ask_from(source: IpAddr, address: SocketAddr, request: Request<'_>) -> Answer {
    let mut client = soon(Client::connect_from(source, address)).await;
    client.ask(request).await
}

/// Retries after each 503, as every SDK does, until there is another answer.
pub(crate) async fn insist(address: SocketAddr, token: &str) -> Answer {
    soon(async {
        loop {
            let answer = ask(address, Request::with_token(token)).await;
            if answer.status != 503 {
                break answer;
            }
        }
    })
    .await
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}
