use std::io;
use std::ops::Deref;
use std::thread::{self, JoinHandle};

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::{MockAgent, MockAgentBuilder};

/// A [`MockAgent`] on a thread of its own, for tests without a runtime.
///
/// It is the mock itself, through `Deref`; what waits there is here without `async`. None of those
/// may be called within a runtime.
///
/// ```
/// use pod_identity_testkit::MockAgent;
///
/// let agent = MockAgent::start_blocking();
/// assert!(std::net::TcpStream::connect(agent.address()).is_ok());
/// agent.stop();
/// assert!(std::net::TcpStream::connect(agent.address()).is_err());
/// ```
#[derive(Debug)]
pub struct BlockingMockAgent {
    /// Before the thread, so that it is dropped while the runtime still runs.
    agent: MockAgent,
    pub(crate) handle: Handle,
    _thread: Thread,
}

impl BlockingMockAgent {
    pub(crate) fn start(builder: MockAgentBuilder) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let agent = runtime.block_on(builder.start())?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("mock-agent".to_owned())
            .spawn(move || {
                // Either way it is time to go.
                runtime.block_on(stopped).ok();
            })?;
        Ok(Self {
            agent,
            handle,
            _thread: Thread {
                stop: Some(stop),
                thread: Some(thread),
            },
        })
    }

    /// As [`MockAgent::stop`].
    pub fn stop(&self) {
        self.handle.block_on(self.agent.stop());
    }

    /// As [`MockAgent::restart`].
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.handle.block_on(self.agent.restart())
    }

    /// As [`MockAgent::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.handle.block_on(self.agent.wait_for_requests(count));
    }

    /// As [`MockAgent::wait_for_answers`].
    pub fn wait_for_answers(&self, count: usize) {
        self.handle.block_on(self.agent.wait_for_answers(count));
    }

    /// As [`MockAgent::wait_until_idle`].
    pub fn wait_until_idle(&self) {
        self.handle.block_on(self.agent.wait_until_idle());
    }
}

impl Deref for BlockingMockAgent {
    type Target = MockAgent;

    fn deref(&self) -> &MockAgent {
        &self.agent
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
