use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::Timestamp;
use tokio::net::TcpListener;

use crate::fault::error::FaultError;
use crate::fault::fault::Fault;
use crate::http::gate::Gate;
use crate::http::host::Host;
use crate::http::server::Server;
use crate::mock::action::Action;
use crate::mock::mock::Mock;
use crate::mock::timeline::{Step, Target, Timeline};

/// A mock with its socket and its pending actions. Dropping it stops the mock.
#[derive(Debug)]
pub(crate) struct MockServer<M> {
    server: Server<M>,
    timeline: Timeline,
}

/// The actions and faults of a mock, by the time since its start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    pub(crate) faults: Vec<(Duration, Fault)>,
    pub(crate) actions: Vec<(Duration, Action)>,
}

impl<M: Mock> MockServer<M> {
    /// # Errors
    /// Fails if the listener cannot move to the host.
    pub(crate) fn start(host: &Host, listener: TcpListener, mock: M) -> io::Result<Arc<Self>> {
        let runtime = host.handle().clone();
        let listener = host.adopt(listener)?;
        Ok(Arc::new(Self {
            server: Server::start_on(runtime.clone(), listener, Arc::new(mock))?,
            timeline: Timeline::new(runtime),
        }))
    }

    pub(crate) fn service(&self) -> &Arc<M> {
        self.server.service()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the address at which clients of this machine reach the mock.
    pub(crate) fn reachable(&self) -> SocketAddr {
        self.server.reachable()
    }

    pub(crate) async fn stop(&self) {
        self.server.stop().await;
    }

    /// # Errors
    /// Fails if another process has taken the port meanwhile.
    pub(crate) async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }

    /// Injects a fault whose times are counted from `from`.
    ///
    /// # Errors
    /// Fails as [`Fault::check_for`].
    pub(crate) fn inject(
        self: &Arc<Self>,
        fault: Fault,
        from: Timestamp,
    ) -> Result<(), FaultError> {
        fault.check_for::<M>()?;
        if let Some(time) = fault.outage() {
            let begins = from + fault.after.map(|time| time.0).unwrap_or_default();
            let usage = self.service().queue(None).watch(&fault);
            let outage = match fault.refuse {
                Some(_) => Action::Refuse(usage),
                None => Action::Ignore(usage),
            };
            let step = |at, action| Step { at, action };
            let steps = vec![step(begins, outage), step(begins + time, Action::Listen)];
            Timeline::add(self, steps);
        } else {
            let mock = self.service();
            let queue = mock.queue(fault.operation);
            queue.push(fault, from, mock.gates());
        }
        Ok(())
    }

    /// Injects a fault of a test.
    ///
    /// # Panics
    /// Panics if the fault is invalid.
    #[track_caller]
    pub(crate) fn inject_now(self: &Arc<Self>, fault: Fault) {
        let now = self.service().now();
        if let Err(error) = self.inject(fault, now) {
            panic!("cannot inject the fault: {error}");
        }
    }

    /// Starts an agenda now, and applies the actions that are due at once.
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port.
    pub(crate) async fn begin(self: &Arc<Self>, agenda: Agenda) -> io::Result<()> {
        let start = self.service().now();
        for (at, fault) in agenda.faults {
            self.inject(fault, start + at)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        let actions = agenda.actions.into_iter();
        let steps = actions.map(|(at, action)| Step {
            at: start + at,
            action,
        });
        Timeline::add(self, steps.collect());
        self.catch_up().await
    }

    /// Applies the actions that are due by now.
    ///
    /// # Errors
    /// Fails if the token cannot be written, or if another process has taken the port.
    pub(crate) async fn catch_up(&self) -> io::Result<()> {
        Timeline::catch_up(self).await.map(drop)
    }

    /// Returns the gate of this name if it has not been released, or else a new one.
    pub(crate) fn named_gate(&self, name: &str) -> Gate {
        self.service().gates().named(name)
    }
}

impl<M: Mock> Target for MockServer<M> {
    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn now(&self) -> Timestamp {
        self.service().now()
    }

    async fn apply(&self, action: &Action, at: Timestamp) -> io::Result<()> {
        match action {
            Action::Refuse(usage) => {
                // Nobody sees who is refused, so the closed port has to be enough.
                usage.mark();
                self.stop().await;
            }
            Action::Ignore(usage) => {
                usage.mark();
                self.server.ignore().await?;
            }
            Action::Listen => self.restart().await?,
            Action::Restart => {
                self.stop().await;
                self.restart().await?;
            }
            Action::Release(gate) => {
                let _was_shut = self.service().gates().release(gate);
            }
            _ => self.service().apply(action, at)?,
        }
        Ok(())
    }
}
