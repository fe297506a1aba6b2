use std::future;
use std::time::Duration;

use crate::fault::queue::{Asker, Faults};
use crate::http::answer::{Answer, bare, json};
use crate::{Fault, RecordedRequest};

/// What the faults of one request have come to.
#[derive(Debug)]
pub(crate) enum Played {
    /// The connection is to be closed without an answer.
    Closed,
    /// This is the answer.
    Answered(Answer),
    /// The service answers, with these changes.
    Passed(Changes),
}

/// Changes to a success.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) expires_in: Option<Duration>,
    pub(crate) without: Option<&'static str>,
}

impl Faults<Fault> {
    /// Plays the faults of one request, which it takes at the first poll.
    pub(crate) async fn play(&self, request: &RecordedRequest) -> Played {
        let mut cleared = self.clearing();
        let mut changes = Changes::default();
        let asker = Asker::new(request.token, request.claims.as_ref());
        for fault in self.take(request.at, asker) {
            match fault {
                Fault::Error(error) => return Played::Answered(error.answer(request.operation)),
                Fault::Status(status, body) => return Played::Answered(bare(status, body)),
                Fault::Malformed(body) => return Played::Answered(json(200, body)),
                Fault::Respond(closure) => return Played::Answered(closure.answer(request)),
                Fault::Reset => return Played::Closed,
                Fault::Hang => cleared.or(future::pending()).await,
                Fault::Latency(latency) => cleared.or(tokio::time::sleep(latency)).await,
                Fault::Gate(gate) => cleared.or(gate.pass()).await,
                Fault::ExpiresIn(lifetime) => changes.expires_in = Some(lifetime),
                Fault::Without(member) => changes.without = Some(member),
            }
        }
        Played::Passed(changes)
    }
}
