use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

/// A thread that writes out the lines given to [`Lines`], so that no task waits for the reader.
///
/// The pipe is not read while the container runtime restarts or its disk is full. Tasks that waited for
/// the pipe would leave no thread to answer pods from the cache.
///
/// Dropping it waits until everything is written, for at most [`FLUSH_TIMEOUT`]. `tracing_appender` is not
/// used because it can wait for ever: its guard reports a full queue on standard output.
#[derive(Debug)]
pub(crate) struct LineWriter {
    queue: Arc<Queue>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
}

impl LineWriter {
    /// # Errors
    /// Fails when the thread cannot be started.
    pub(crate) fn start(name: &str, to: impl Write + Send + 'static) -> io::Result<Self> {
        let (ending, ended) = channel();
        let queue = Arc::new(Queue::default());
        let lines = Arc::clone(&queue);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_out(&lines, to, ending))?;
        Ok(Self { queue, ended })
    }

    /// Another writer to the queue. Its lines that cannot be written are counted as `lost`.
    pub(crate) fn lines(&self, lost: IntCounter) -> Lines {
        Lines {
            queue: Arc::clone(&self.queue),
            lost,
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        // An error means that the thread has ended, or that the pipe is not read. There is no more to do.
        let _ended = self.ended.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// A writer that never blocks. Each write is one line, which is written whole or, if the queue is full,
/// lost.
#[derive(Debug)]
pub(crate) struct Lines {
    queue: Arc<Queue>,
    lost: IntCounter,
}

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = Line {
            text: text.into(),
            lost: self.lost.clone(),
        };
        if let Err(line) = self.queue.push(line) {
            line.lost.inc();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Line {
    text: Box<[u8]>,
    lost: IntCounter,
}

#[derive(Default)]
struct Queue {
    /// Held to add or remove a line, never while one is written.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// # Errors
    /// Returns the line when the queue is full or closed.
    fn push(&self, line: Line) -> Result<(), Line> {
        let mut state = self.lock();
        let bytes = state.bytes + line.text.len();
        if state.closed || bytes > MAX_BYTES {
            return Err(line);
        }
        state.bytes = bytes;
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next line. `None`: the queue is closed and empty.
    fn pop(&self) -> Option<Line> {
        let is_idle = |state: &mut State| state.lines.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.pop_front()?;
        state.bytes -= line.text.len();
        Some(line)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Line by line: the kernel does not mix short writes to a pipe with those of others.
fn write_out(queue: &Queue, mut to: impl Write, _ending: Sender<Infallible>) {
    while let Some(line) = queue.pop() {
        // Credentials are served even if the log cannot be written.
        if to.write_all(&line.text).and_then(|()| to.flush()).is_err() {
            line.lost.inc();
        }
    }
}

/// Some thousands of lines, and little beside the memory that a node agent is granted.
const MAX_BYTES: usize = 1 << 20;

/// How long the end of the process waits for the reader: short beside the 30 s that a pod has to end, long
/// enough for any reader that is alive.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe without a buffer: a write ends when the receiver takes it.
    fn pipe() -> (impl Write + Send + 'static, Receiver<Vec<u8>>) {
        struct Pipe(std::sync::mpsc::SyncSender<Vec<u8>>);
        impl Write for Pipe {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                let closed = |_closed| io::Error::from(io::ErrorKind::BrokenPipe);
                self.0.send(text.to_vec()).map_err(closed)?;
                Ok(text.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel(0);
        (Pipe(sender), receiver)
    }

    fn counter() -> IntCounter {
        IntCounter::new("lost", "Lost.").unwrap()
    }

    #[test]
    fn a_line_that_finds_no_room_is_dropped_and_counted_by_its_channel() {
        let queue = Arc::new(Queue::default());
        let (lost_log, lost_audit) = (counter(), counter());
        let lines = |lost: &IntCounter| Lines {
            queue: Arc::clone(&queue),
            lost: lost.clone(),
        };
        let (mut log, mut audit) = (lines(&lost_log), lines(&lost_audit));
        log.write_all(&[b'x'; MAX_BYTES]).unwrap();
        audit.write_all(b"1\n").unwrap();
        assert_eq!((lost_log.get(), lost_audit.get()), (0, 1));
        queue.pop().unwrap();
        audit.write_all(b"2\n").unwrap();
        assert_eq!(*queue.pop().unwrap().text, *b"2\n");
        assert_eq!((lost_log.get(), lost_audit.get()), (0, 1));
    }

    #[test]
    fn queued_lines_are_written_in_order_before_shutdown() {
        let (to, read) = pipe();
        let writer = LineWriter::start("test", to).unwrap();
        let (mut log, mut audit) = (writer.lines(counter()), writer.lines(counter()));
        log.write_all(b"1\n").unwrap();
        audit.write_all(b"2\n").unwrap();
        log.write_all(b"3\n").unwrap();
        let reading = thread::spawn(move || read.iter().collect::<Vec<_>>().concat());
        drop(writer);
        assert_eq!(reading.join().unwrap(), b"1\n2\n3\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_is_tried() {
        let (to, read) = pipe();
        drop(read);
        let writer = LineWriter::start("test", to).unwrap();
        let lost = counter();
        let mut lines = writer.lines(lost.clone());
        lines.write_all(b"1\n").unwrap();
        lines.write_all(b"2\n").unwrap();
        drop(writer);
        assert_eq!(lost.get(), 2);
    }
}
