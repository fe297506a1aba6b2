use std::ops::Deref;

use tokio::runtime::Handle;

/// A mock for tests without a runtime, such as [`BlockingMockAgent`](crate::BlockingMockAgent) or
/// [`BlockingMockEksAuth`](crate::BlockingMockEksAuth).
///
/// It dereferences to the mock. The methods that are `async` there block here, so they
/// panic within a runtime, such as in a `#[tokio::test]`: start the mock with `start().await` there.
#[derive(Debug)]
pub struct Blocking<M> {
    mock: M,
    /// The runtime of the mock's thread.
    handle: Handle,
}

impl<M> Blocking<M> {
    pub(crate) fn new(mock: M, handle: Handle) -> Self {
        Self { mock, handle }
    }

    /// Waits for any future, such as `mock.wait(gate.wait_for(2))`.
    ///
    /// # Panics
    /// Panics within a runtime.
    #[track_caller]
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
