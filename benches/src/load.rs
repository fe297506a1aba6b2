use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// A keep-alive connection that sends the requests of an SDK, with little overhead.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    refused: Arc<AtomicU64>,
}

impl Connection {
    /// Connects from its own loopback address, as a pod.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn open(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(4096),
            refused: Arc::default(),
        })
    }

    /// Also counts here the answers that are not 200.
    pub(crate) fn counting(mut self, refused: Arc<AtomicU64>) -> Self {
        self.refused = refused;
        self
    }

    /// Sends bytes, as far as they are taken.
    ///
    /// # Errors
    /// When the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The status of the answer to a request for credentials, and its time.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn ask(&mut self, token: &str) -> io::Result<(u16, Duration)> {
        let began = Instant::now();
        let request = format!(
            "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n\r\n"
        );
        let status = self.ask_as(request.as_bytes()).await?;
        Ok((status, began.elapsed()))
    }

    /// The status of the answer to a request for credentials that is already written out.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn ask_as(&mut self, request: &[u8]) -> io::Result<u16> {
        let status = self.exchange(request).await?;
        if status != 200 {
            // A figure, which is read when the requests have ended.
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(status)
    }

    /// One request as it goes over the wire, and the status of its answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = whole(&self.answer) {
                return Ok(status);
            }
        }
    }

    /// The latest answer as it came over the wire.
    pub fn latest(&self) -> &[u8] {
        &self.answer
    }
}

/// The status, once head and body are there.
fn whole(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse::<usize>().ok()).flatten()
    });
    let status = head.get(9..12)?.parse().ok()?;
    (answer.len() >= end + 4 + length.unwrap_or_default()).then_some(status)
}

/// Returns the loopback address of a pod.
pub fn pod(number: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    let offset = u32::try_from(number).unwrap_or_default();
    Ipv4Addr::from(first + offset).into()
}

/// The time within which this share of all were done.
pub fn percentile(mut measured: Vec<Duration>, share: f64) -> Duration {
    measured.sort_unstable();
    let rank = (measured.len() as f64 * share).ceil() as usize;
    let at = rank.saturating_sub(1).min(measured.len().saturating_sub(1));
    measured.get(at).copied().unwrap_or_default()
}
