use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;

use crate::http::host;

/// A listener that accepts nothing and whose queue is full: the kernel drops each further attempt to connect,
/// and the client tries again until its connect timeout. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct FullQueue {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl FullQueue {
    /// Listens on a bound socket.
    ///
    /// # Errors
    /// Fails if the system answers however many connections wait.
    pub(crate) async fn listen(runtime: &Handle, socket: TcpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            socket.listen(0)?
        };
        // A blocking thread, because the clock of the runtime may be paused.
        let filling = runtime.spawn_blocking(move || fill(host::reachable(address)));
        Ok(Self {
            _listener: listener,
            _queued: filling.await.map_err(io::Error::other)??,
        })
    }
}

/// Connects until nothing answers. How many connections a queue of length 0 holds depends on the system.
fn fill(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let (mut queued, mut unanswered) = (Vec::new(), 0);
    while queued.len() < MOST_QUEUED {
        match TcpStream::connect_timeout(&address, ANSWERED_WITHIN) {
            Ok(stream) => {
                queued.push(stream);
                unanswered = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                unanswered += 1;
                if unanswered == UNANSWERED {
                    return Ok(queued);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(
        "the queue of a listener does not fill on this system; use refuse instead of unreachable",
    ))
}

/// The kernel answers on loopback within microseconds.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);

/// One of them may be late on a busy machine.
const UNANSWERED: u32 = 2;

/// Linux queues one.
const MOST_QUEUED: usize = 256;
