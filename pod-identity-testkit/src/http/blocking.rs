use std::io;
use std::ops::Deref;
use std::thread::{self, JoinHandle};

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

/// A mock on a thread of its own: [`BlockingMockAgent`](crate::BlockingMockAgent) or
/// [`BlockingMockEksAuth`](crate::BlockingMockEksAuth).
///
/// It is the mock itself, through `Deref`; what waits there is here without `async`. None of those
/// may be called within a runtime.
#[derive(Debug)]
pub struct Blocking<M> {
    /// Before the thread, so that it is dropped while the runtime still runs.
    mock: M,
    handle: Handle,
    _thread: Thread,
}

impl<M> Blocking<M> {
    pub(crate) fn start(name: &str, mock: impl Future<Output = io::Result<M>>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let mock = runtime.block_on(mock)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Either way it is time to go.
                runtime.block_on(stopped).ok();
            })?;
        Ok(Self {
            mock,
            handle,
            _thread: Thread {
                stop: Some(stop),
                thread: Some(thread),
            },
        })
    }

    /// Waits for anything else, such as `mock.wait(gate.wait_for(2))`.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl<M> Deref for Blocking<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.mock
    }
}

/// The thread, which ends with this.
#[derive(Debug)]
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been shown already.
            thread.join().ok();
        }
    }
}
