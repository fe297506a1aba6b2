use tokio::net::TcpStream;

use crate::fault::fault::Fault;
use crate::http::answer::{Answer, Missing};
use crate::http::connection::{Connection, Ended, Next};
use crate::http::outcome::Outcome;
use crate::http::request::Request;
use crate::http::server::Service;
use crate::http::wire::Wire;
use crate::mock::mock::{Mock, Record};

/// Records each request, lets it meet its faults, and answers it.
impl<M: Mock> Service for M {
    async fn serve(&self, stream: TcpStream) {
        let number = self.recorder().connected();
        let Some(stream) = self.open(stream).await else {
            return;
        };
        let mut connection = Connection::new(stream);
        loop {
            let exchanged = match connection.next(self.bodies()).await {
                Next::Request(request) => match self.read(&request) {
                    Ok(call) => {
                        let exchanged = match self.probed(&call) {
                            Some(mut answer) => {
                                self.finish(&mut answer);
                                connection.answer(answer, &request).await
                            }
                            None => exchange(self, &mut connection, number, &call, &request).await,
                        };
                        exchanged.map(|()| request.is_last)
                    }
                    Err(reason) => connection.refuse_garbage(reason).await.map(|()| true),
                },
                Next::Garbage => connection.refuse_garbage("").await.map(|()| true),
                Next::Gone => break,
            };
            match exchanged {
                Ok(false) => {}
                Ok(true) => {
                    connection.drain().await;
                    break;
                }
                Err(Ended) => break,
            }
        }
    }
}

async fn exchange<M: Mock>(
    mock: &M,
    connection: &mut Connection,
    number: u64,
    call: &M::Call,
    request: &Request,
) -> Result<(), Ended> {
    let (mut record, token) = mock.record(number, call, request);
    let queue = mock.queue_of(&record);
    let mut clearing = queue.clearing();
    // Before it is counted: a test that has seen the request may clear the fault that the request was to meet.
    let (fault, changes) = queue.take(mock.now(), record.requester());
    let in_flight = mock.recorder().arrived(&mut record, token.as_ref());
    let delivery = fault.delivery();
    for wait in delivery.opening() {
        connection.wait(wait, &mut clearing).await?;
    }
    let wire = if delivery.is_silent() {
        record.conclude(Outcome::silent(delivery.ending));
        Wire::default()
    } else {
        let answer = answer(mock, call, request, &mut record, &fault).await;
        if answer.status().is_success() {
            let missing = answer.extensions().get::<Missing>();
            let missing = missing.map_or(&[][..], |missing| &missing.0);
            changes.iter().for_each(|usage| usage.changed(missing));
        }
        record.conclude(Outcome::of(&answer, delivery.ending));
        fault.wire(answer, request)
    };
    let steps = delivery.steps(&wire);
    connection
        .deliver(steps, &mut clearing, in_flight, record)
        .await
}

async fn answer<M: Mock>(
    mock: &M,
    call: &M::Call,
    request: &Request,
    record: &mut M::Record,
    fault: &Fault,
) -> Answer {
    let refused = fault
        .own_answer(request)
        .or_else(|| mock.refuse(record, fault));
    let mut answer = match refused {
        Some(answer) => answer,
        None => mock.answer(call, request, record, fault).await,
    };
    if let Some(time) = fault.retry_after {
        let (name, value) = M::retry_after(time.0);
        answer.headers_mut().insert(name, value);
    }
    mock.finish(&mut answer);
    answer
}
