use std::future;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::answer::Answer;
use crate::http::clearing::{Clearing, Clearings};
use crate::http::delivery::{Delivery, Step, Wait};
use crate::http::feed::{Feed, Piece};
use crate::http::request::Request;
use crate::http::request_head::{BadHead, BodyFraming, RequestHead};
use crate::http::stream::Stream;
use crate::http::wire::{self, Framing, Wire};
use crate::record::recorder::{InFlight, Recorded};

/// The server's side of one HTTP/1 connection, whose answers can fail at any byte, which hyper
/// rightly does not allow.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: BytesMut,
}

/// What a server does with bodies up to a size.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bodies {
    Read {
        max: usize,
    },
    /// It drops them unseen, so that the next request can follow.
    Skipped {
        max: usize,
    },
}

/// What comes next from a client.
#[derive(Debug)]
pub(crate) enum Next {
    Request(Request),
    /// Something that is not a request.
    Garbage,
    Gone,
}

/// Why there is no body.
#[derive(Debug)]
enum BadBody {
    TooLarge,
    Malformed,
    Gone,
}

/// The connection has ended, by the client or by a fault.
#[derive(Debug)]
pub(crate) struct Ended;

impl From<io::Error> for Ended {
    /// Drops the error: clients may break connections as they like.
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    /// Reads a request. A body that is larger than the limit is left unread.
    pub(crate) async fn next(&mut self, bodies: Bodies) -> Next {
        let head = loop {
            match RequestHead::parse(&self.received) {
                Ok(Some((head, length))) => {
                    self.received.advance(length);
                    break head;
                }
                Ok(None) => {}
                Err(BadHead) => return Next::Garbage,
            }
            if self.receive().await.is_err() {
                return Next::Gone;
            }
        };
        let (body, is_read) = match self.body(&head, bodies).await {
            Ok(body) => (body, true),
            Err(BadBody::TooLarge) => (Bytes::new(), false),
            Err(BadBody::Malformed) => return Next::Garbage,
            Err(BadBody::Gone) => return Next::Gone,
        };
        Next::Request(Request {
            is_last: head.is_last() || !is_read,
            head,
            body,
        })
    }

    async fn body(&mut self, head: &RequestHead, bodies: Bodies) -> Result<Bytes, BadBody> {
        let framing = head.framing().map_err(|BadHead| BadBody::Malformed)?;
        let has_body = framing != BodyFraming::Length(0);
        let max = match bodies {
            // The client is not told to go on.
            Bodies::Skipped { .. } if has_body && head.expects_continue() => {
                return Err(BadBody::TooLarge);
            }
            Bodies::Read { max } | Bodies::Skipped { max } => max,
        };
        match framing {
            BodyFraming::Length(length) if length > max => return Err(BadBody::TooLarge),
            BodyFraming::Chunked if max == 0 => return Err(BadBody::TooLarge),
            _ => {}
        }
        if head.expects_continue() && has_body {
            let sent = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            sent.await.map_err(|_gone| BadBody::Gone)?;
        }
        let body = match framing {
            BodyFraming::Length(length) => self.exactly(length).await?.freeze(),
            BodyFraming::Chunked => self.chunks(max).await?,
        };
        Ok(match bodies {
            Bodies::Read { .. } => body,
            Bodies::Skipped { .. } => Bytes::new(),
        })
    }

    async fn chunks(&mut self, max: usize) -> Result<Bytes, BadBody> {
        let mut body = BytesMut::new();
        loop {
            let size = self.chunk_size().await?;
            if size == 0 {
                break;
            }
            if size > max - body.len() {
                return Err(BadBody::TooLarge);
            }
            body.unsplit(self.exactly(size).await?);
            self.line().await?;
        }
        // Trailers, and the empty line after them.
        while !self.line().await?.is_empty() {}
        Ok(body.freeze())
    }

    async fn chunk_size(&mut self) -> Result<usize, BadBody> {
        loop {
            match httparse::parse_chunk_size(&self.received) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.received.advance(length);
                    return usize::try_from(size).map_err(|_huge| BadBody::TooLarge);
                }
                Ok(httparse::Status::Partial) => self.receive().await?,
                Err(_) => return Err(BadBody::Malformed),
            }
        }
    }

    /// The next `count` bytes.
    async fn exactly(&mut self, count: usize) -> Result<BytesMut, BadBody> {
        while self.received.len() < count {
            self.receive().await?;
        }
        Ok(self.received.split_to(count))
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<BytesMut, BadBody> {
        loop {
            let end = self.received.windows(2).position(|end| end == b"\r\n");
            if let Some(end) = end {
                let line = self.received.split_to(end);
                self.received.advance(2);
                return Ok(line);
            }
            if self.received.len() > MAX_LINE {
                return Err(BadBody::Malformed);
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), BadBody> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) | Err(_) => Err(BadBody::Gone),
            Ok(_some) => Ok(()),
        }
    }

    /// Waits. Clearing the faults ends the wait; a client that disconnects ends the connection.
    pub(crate) async fn wait(&mut self, wait: &Wait, clearing: &mut Clearing) -> Result<(), Ended> {
        let over = async {
            match wait {
                Wait::Gate(gate) => gate.pass().await,
                Wait::Pause(time) => tokio::time::sleep(*time).await,
                Wait::Forever => future::pending().await,
            }
        };
        tokio::select! {
            () = clearing.or(over) => Ok(()),
            ended = self.left() => Err(ended),
        }
    }

    /// Sends an answer in steps.
    ///
    /// The request counts as answered before the last step is sent: a client that has read the answer must
    /// not find it in flight.
    pub(crate) async fn deliver<R: Recorded>(
        &mut self,
        steps: Vec<Step>,
        clearing: &mut Clearing,
        in_flight: InFlight<'_, R>,
        record: R,
    ) -> Result<(), Ended> {
        let mut steps = steps.into_iter();
        let last = steps.next_back();
        for step in steps {
            self.take(step, clearing).await?;
        }
        match last {
            Some(Step::Wait(wait)) => {
                self.wait(&wait, clearing).await?;
                in_flight.answered(record);
                Ok(())
            }
            Some(step) => {
                in_flight.answered(record);
                self.take(step, clearing).await
            }
            None => Ok(()),
        }
    }

    /// Answers without faults and without a record.
    pub(crate) async fn answer(&mut self, answer: Answer, request: &Request) -> Result<(), Ended> {
        let wire = Wire::new(answer, Framing::Length, request);
        self.send_whole(&wire).await
    }

    /// Answers bytes that are not a request as Go's `net/http` does, which may name a reason. They are not recorded.
    pub(crate) async fn refuse_garbage(&mut self, reason: &str) -> Result<(), Ended> {
        self.send_whole(&Wire::not_a_request(reason)).await
    }

    async fn send_whole(&mut self, wire: &Wire) -> Result<(), Ended> {
        let mut clearing = Clearings::default().watch();
        for step in Delivery::default().steps(wire) {
            self.take(step, &mut clearing).await?;
        }
        Ok(())
    }

    /// Takes a step of a delivery.
    async fn take(&mut self, step: Step, clearing: &mut Clearing) -> Result<(), Ended> {
        match step {
            Step::Send(bytes) => self.send(&bytes).await,
            Step::Wait(wait) => self.wait(&wait, clearing).await,
            Step::Follow(feed) => self.follow(&feed).await,
            Step::Close => Err(Ended),
            Step::Reset => {
                // Closing with a linger of zero sends a RST instead of a FIN.
                self.stream.set_zero_linger()?;
                Err(Ended)
            }
        }
    }

    /// Sends what a feed has, as chunks, until its end or until the client leaves.
    async fn follow(&mut self, feed: &Feed) -> Result<(), Ended> {
        loop {
            let next = tokio::select! {
                next = feed.next() => next,
                ended = self.left() => return Err(ended),
            };
            match next {
                Some(Piece::Data(data)) => self.send(&wire::chunk(&data)).await?,
                Some(Piece::Break) => return Err(Ended),
                None => return self.send(wire::LAST_CHUNK).await,
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.stream.write_all(bytes).await?;
        // TLS keeps what the socket did not take at once.
        Ok(self.stream.flush().await?)
    }

    /// Ends the connection in order although the client may still be sending: closing with unread bytes
    /// would reset it, and the answer would be lost with it.
    pub(crate) async fn drain(mut self) {
        self.stream.shutdown().await.ok();
        let mut unread = [0; 4096];
        while let Ok(1..) = self.stream.read(&mut unread).await {}
    }

    /// Returns when the client has closed its side. What it sends before that is kept.
    ///
    /// A client that ends only its own sending and still reads counts as gone: the two look the same until something is
    /// sent. Go's `net/http` cancels its handler for both, but sends an answer that is made nevertheless.
    async fn left(&mut self) -> Ended {
        loop {
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Ended,
                Ok(_pipelined) => {}
            }
        }
    }
}

/// The longest trailer of a chunked body.
const MAX_LINE: usize = 8 * 1024;
