use std::future;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fault::queue::Clearing;
use crate::http::delivery::{Step, Wait};
use crate::http::request_head::{BadHead, RequestHead};

/// The server's side of one HTTP/1 connection, where answers may go wrong at any byte: what hyper
/// rightly does not let a server do.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

/// What comes next from a client.
#[derive(Debug)]
pub(crate) enum Next {
    Request(RequestHead),
    Garbage,
    Gone,
}

/// The connection has ended, whoever ended it.
#[derive(Debug)]
pub(crate) struct Ended;

impl From<io::Error> for Ended {
    /// How a connection breaks is the client's affair.
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
        }
    }

    pub(crate) async fn next(&mut self) -> Next {
        loop {
            match RequestHead::parse(&self.received) {
                Ok(Some((head, length))) => {
                    self.received.advance(length);
                    return Next::Request(head);
                }
                Ok(None) => {}
                Err(BadHead) => return Next::Garbage,
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Next::Gone,
                Ok(_some) => {}
            }
        }
    }

    /// Waits; clearing the faults ends it, and so does the client by leaving.
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

    /// Takes a step of a delivery.
    pub(crate) async fn take(&mut self, step: Step, clearing: &mut Clearing) -> Result<(), Ended> {
        match step {
            Step::Send(bytes) => Ok(self.stream.write_all(&bytes).await?),
            Step::Wait(wait) => self.wait(&wait, clearing).await,
            Step::Close => Err(Ended),
            Step::Reset => {
                // Closing with a linger of zero sends a RST instead of a FIN.
                self.stream.set_zero_linger()?;
                Err(Ended)
            }
        }
    }

    /// Ends the connection in order although the client may still be sending: closing with unread bytes
    /// would reset it, and the answer would be lost with it.
    pub(crate) async fn drain(mut self) {
        self.stream.shutdown().await.ok();
        let mut unread = [0; 4096];
        while let Ok(1..) = self.stream.read(&mut unread).await {}
    }

    /// Returns when the client has closed its side. What it sends before that is kept.
    async fn left(&mut self) -> Ended {
        loop {
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Ended,
                Ok(_pipelined) => {}
            }
        }
    }
}
