use std::io;
use std::ops::Deref;
use std::thread::{self, JoinHandle};

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::{MockAgent, MockEksAuth};

/// A [`MockAgent`] on a thread of its own, for tests without a runtime.
///
/// ```
/// use pod_identity_testkit::MockAgent;
///
/// let agent = MockAgent::start_blocking();
/// assert!(std::net::TcpStream::connect(agent.address()).is_ok());
/// agent.stop();
/// assert!(std::net::TcpStream::connect(agent.address()).is_err());
/// ```
pub type BlockingMockAgent = Blocking<MockAgent>;

/// A [`MockEksAuth`] on a thread of its own, for tests without a runtime.
///
/// ```
/// use pod_identity_testkit::MockEksAuth;
///
/// let eks = MockEksAuth::start_blocking();
/// eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
/// assert!(std::net::TcpStream::connect(eks.address()).is_ok());
/// ```
pub type BlockingMockEksAuth = Blocking<MockEksAuth>;

/// A mock on a thread of its own: [`BlockingMockAgent`] or [`BlockingMockEksAuth`].
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

impl Blocking<MockAgent> {
    /// As [`MockAgent::stop`].
    pub fn stop(&self) {
        self.wait(self.mock.stop());
    }

    /// As [`MockAgent::restart`].
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.wait(self.mock.restart())
    }

    /// As [`MockAgent::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(self.mock.wait_for_requests(count));
    }

    /// As [`MockAgent::wait_for_answers`].
    pub fn wait_for_answers(&self, count: usize) {
        self.wait(self.mock.wait_for_answers(count));
    }

    /// As [`MockAgent::catch_up`].
    ///
    /// # Errors
    /// Fails if the token cannot be written, or somebody else has taken the port meanwhile.
    pub fn catch_up(&self) -> io::Result<()> {
        self.wait(self.mock.catch_up())
    }

    /// As [`MockAgent::wait_until_idle`].
    pub fn wait_until_idle(&self) {
        self.wait(self.mock.wait_until_idle());
    }
}

impl Blocking<MockEksAuth> {
    /// As [`MockEksAuth::stop`].
    pub fn stop(&self) {
        self.wait(self.mock.stop());
    }

    /// As [`MockEksAuth::restart`].
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.wait(self.mock.restart())
    }

    /// As [`MockEksAuth::wait_for_requests`].
    pub fn wait_for_requests(&self, count: usize) {
        self.wait(self.mock.wait_for_requests(count));
    }

    /// As [`MockEksAuth::wait_for_answers`].
    pub fn wait_for_answers(&self, count: usize) {
        self.wait(self.mock.wait_for_answers(count));
    }

    /// As [`MockEksAuth::catch_up`].
    ///
    /// # Errors
    /// Fails if the token cannot be written, or somebody else has taken the port meanwhile.
    pub fn catch_up(&self) -> io::Result<()> {
        self.wait(self.mock.catch_up())
    }

    /// As [`MockEksAuth::wait_until_idle`].
    pub fn wait_until_idle(&self) {
        self.wait(self.mock.wait_until_idle());
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
