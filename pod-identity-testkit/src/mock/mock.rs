use std::future::{self, Future};
use std::io;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use pod_identity_core::{Secret, Timestamp};
use tokio::net::TcpStream;

use crate::fault::error::FaultError;
use crate::fault::fault::Fault;
use crate::fault::faults::Faults;
use crate::fault::operation::Operation;
use crate::fault::queue::FaultQueue;
use crate::fault::requester::Requester;
use crate::http::answer::Answer;
use crate::http::connection::Bodies;
use crate::http::gates::Gates;
use crate::http::outcome::Outcome;
use crate::http::request::Request;
use crate::http::stream::Stream;
use crate::mock::action::Action;
use crate::record::recorder::{Recorded, Recorder};

/// A mock behind its socket. [`exchange`](crate::mock::exchange) serves its connections.
pub(crate) trait Mock: Send + Sync + 'static {
    /// A request as this mock understands it.
    type Call: Send + Sync;
    type Record: Record;

    /// What a failing test calls it.
    const NAME: &'static str;

    /// The largest body that is read.
    const MAX_BODY: usize;

    /// Checks the rules of this mock for a fault that [`Fault::check`] has passed.
    ///
    /// # Errors
    /// Fails if this mock does not have a member of the fault or does not know its value.
    fn check(fault: &Fault) -> Result<(), FaultError>;

    /// What it does with bodies.
    fn bodies(&self) -> Bodies {
        Bodies::Read {
            max: Self::MAX_BODY,
        }
    }

    fn now(&self) -> Timestamp;

    fn gates(&self) -> &Gates;

    fn recorder(&self) -> &Recorder<Self::Record>;

    /// Prepares a connection that was accepted, as by a TLS handshake; `None` if that fails, which is the
    /// client's affair.
    fn open(&self, stream: TcpStream) -> impl Future<Output = Option<Box<dyn Stream>>> + Send {
        let stream: Box<dyn Stream> = Box::new(stream);
        future::ready(Some(stream))
    }

    /// Returns the faults of this operation, or of the mock's main one.
    fn queue(&self, operation: Option<Operation>) -> &FaultQueue;

    /// Returns the faults that apply to a request.
    fn queue_of(&self, record: &Self::Record) -> &FaultQueue;

    /// Returns all its faults.
    fn faults(&self) -> &dyn Faults;

    /// # Errors
    /// Returns what follows `400 Bad Request`, if this is not a request that the mock could answer.
    fn read(&self, request: &Request) -> Result<Self::Call, &'static str>;

    /// Returns the answer to a request that only asks whether the mock is alive, as kubelet does every few seconds. No
    /// fault is for such a request, and it is not recorded.
    fn probed(&self, _call: &Self::Call) -> Option<Answer> {
        None
    }

    /// Returns the record of a request and the token in it.
    fn record(
        &self,
        connection: u64,
        call: &Self::Call,
        request: &Request,
    ) -> (Self::Record, Option<Secret>);

    /// Returns the answer of `error`, `status` or `malformed`, if the fault has one of these.
    fn refuse(&self, record: &Self::Record, fault: &Fault) -> Option<Answer>;

    /// Returns the normal answer with the changes of the fault.
    fn answer(
        &self,
        call: &Self::Call,
        request: &Request,
        record: &mut Self::Record,
        fault: &Fault,
    ) -> impl Future<Output = Answer> + Send;

    /// Adds the headers that every answer has, even one of a fault.
    fn finish(&self, answer: &mut Answer);

    /// Returns the header that asks a client to wait.
    fn retry_after(time: Duration) -> (HeaderName, HeaderValue);

    /// Applies an action that does not concern the port. Does nothing if the action is not for this mock.
    ///
    /// # Errors
    /// Fails if the token cannot be written.
    fn apply(&self, action: &Action, at: Timestamp) -> io::Result<()>;
}

/// What a mock has seen of a request.
pub(crate) trait Record: Recorded + Send + 'static {
    fn requester(&self) -> Requester<'_>;

    fn conclude(&mut self, outcome: Outcome);
}

impl Fault {
    /// Checks a fault before it is injected into this mock.
    ///
    /// # Errors
    /// Fails if no member is set, if members exclude each other, or as [`Mock::check`].
    pub(crate) fn check_for<M: Mock>(&self) -> Result<(), FaultError> {
        self.check()?;
        M::check(self)
    }
}
