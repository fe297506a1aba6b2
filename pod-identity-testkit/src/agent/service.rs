use std::sync::{Arc, Mutex};

use http::StatusCode;
use pod_identity_core::wire::agent::{self, AllowedHosts, Refusal};
use pod_identity_core::{Clock, Credentials, Secret, ServiceAccountToken, Timestamp, TokenDigest};
use tokio::net::TcpStream;

use crate::agent::answer::{self, AgentAnswer};
use crate::agent::plan::Plan;
use crate::fault::queue::{Asker, Clearing, Faults};
use crate::http::connection::{Connection, Ended, Next};
use crate::http::delivery::{Delivery, Step};
use crate::http::limiter::Limiter;
use crate::http::recorder::{InFlight, Recorder};
use crate::http::request_head::RequestHead;
use crate::http::server::Service;
use crate::http::wire::Wire;
use crate::sync::lock;
use crate::token::pod_token::PodToken;
use crate::{AgentFault, AgentOutcome, AgentRequest, CredentialSource, TokenPolicy};

/// The node agent behind its socket: records a request, plays its faults, and answers.
#[derive(Debug)]
pub(crate) struct AgentService {
    pub(crate) hosts: AllowedHosts,
    pub(crate) policy: TokenPolicy,
    pub(crate) source: CredentialSource,
    pub(crate) token: PodToken,
    /// Who mints the token, unless the test has a builder of its own.
    #[cfg(feature = "scenario")]
    pub(crate) issuer: crate::Issuer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) faults: Faults<AgentFault>,
    pub(crate) recorder: Recorder<AgentRequest>,
    /// What the last success held, for whoever wants it again.
    pub(crate) last: Mutex<Option<Credentials>>,
}

impl Service for AgentService {
    async fn serve(&self, stream: TcpStream) {
        let number = self.recorder.connected();
        let mut connection = Connection::new(stream);
        loop {
            let exchanged = match connection.next().await {
                Next::Request(head) => {
                    let exchanged = self.exchange(&mut connection, number, &head).await;
                    exchanged.map(|()| head.is_last())
                }
                Next::Garbage => self.refuse_garbage(&mut connection).await.map(|()| true),
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

impl AgentService {
    async fn exchange(
        &self,
        connection: &mut Connection,
        number: u64,
        head: &RequestHead,
    ) -> Result<(), Ended> {
        let mut clearing = self.faults.clearing();
        let token = head.authorization();
        let request = self.recorded(number, head, token.as_ref());
        let in_flight = self.recorder.arrived(request.clone(), token.as_ref());
        let asker = Asker {
            token_age: request.token_age,
            ..Asker::new(request.token, request.claims.as_ref())
        };
        let plan = Plan::new(self.faults.take(request.at, asker));
        for wait in plan.delivery.opening() {
            connection.wait(wait, &mut clearing).await?;
        }
        let ending = plan.delivery.ending;
        if plan.delivery.is_silent() {
            let outcome = AgentOutcome::silent(ending);
            let steps = plan.delivery.steps(&Wire::default());
            return deliver(connection, steps, &mut clearing, in_flight, outcome).await;
        }
        let (answer, access_key_id) = self.answer(&plan, &request, head, token);
        let outcome = AgentOutcome {
            status: Some(answer.status().as_u16()),
            access_key_id,
            ending,
        };
        let steps = plan.delivery.steps(&plan.wire(answer, head.is_last()));
        deliver(connection, steps, &mut clearing, in_flight, outcome).await
    }

    fn recorded(&self, number: u64, head: &RequestHead, token: Option<&Secret>) -> AgentRequest {
        let text = token.map(Secret::expose).unwrap_or_default();
        let digest = |text: &str| TokenDigest::of(text.as_bytes());
        let (bearer_prefix, bare) = match text.split_at_checked(BEARER.len()) {
            Some((prefix, bare)) if prefix.eq_ignore_ascii_case(BEARER) => (true, bare),
            _ => (false, text),
        };
        AgentRequest {
            at: self.clock.now(),
            connection: number,
            method: head.method.clone(),
            path: head.target.clone(),
            host: head.host(),
            headers: head.headers.clone(),
            token: token.map(|token| digest(token.expose())),
            bearer_prefix,
            token_age: self.token.age(digest(bare)),
            claims: ServiceAccountToken::parse(bare)
                .ok()
                .map(|token| token.claims().clone()),
            outcome: None,
        }
    }

    /// The answer, and the access key id in it.
    fn answer(
        &self,
        plan: &Plan,
        request: &AgentRequest,
        head: &RequestHead,
        token: Option<Secret>,
    ) -> (AgentAnswer, Option<String>) {
        if let Some(answer) = plan.answer(request) {
            return (answer, None);
        }
        match self.grant(plan, request, head, token) {
            Ok(credentials) => {
                let answer = answer::json(plan.success(&credentials));
                (answer, Some(credentials.access_key_id().to_owned()))
            }
            Err(refusal) => (answer::refusal(&refusal), None),
        }
    }

    fn grant(
        &self,
        plan: &Plan,
        request: &AgentRequest,
        head: &RequestHead,
        token: Option<Secret>,
    ) -> Result<Credentials, Refusal> {
        let now = self.clock.now();
        if self
            .limiter
            .as_ref()
            .is_some_and(|limiter| !limiter.allows(now))
        {
            return Err(Refusal::TooManyRequests);
        }
        if head.path() != agent::PATH {
            return Err(Refusal::NotFound);
        }
        if request.method != "GET" {
            return Err(Refusal::MethodNotAllowed);
        }
        self.hosts
            .check(request.host.as_deref().unwrap_or_default())?;
        let token = token.unwrap_or_else(|| Secret::from(String::new()));
        // The age now, not on arrival: the token may have been rotated while the request was held up.
        let age = request.token.and_then(|token| self.token.age(token));
        self.policy.check(token.expose(), age, now)?;
        let credentials = self.credentials(plan, request, &token, now)?;
        self.recorder.minted(
            credentials.access_key_id().to_owned(),
            [
                credentials.secret_access_key().clone(),
                credentials.session_token().clone(),
            ],
        );
        Ok(credentials)
    }

    fn credentials(
        &self,
        plan: &Plan,
        request: &AgentRequest,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Credentials, Refusal> {
        let again = lock(&self.last).clone().filter(|_| plan.wants_same_again());
        let credentials = match again {
            Some(credentials) => credentials,
            None => self.source.grant(request, token, now)?,
        };
        let (credentials, on_purpose) = plan.expiring(credentials, now);
        let left = credentials.expiration().as_unix_millis() - now.as_unix_millis();
        if left <= LEAST_LIFE_MILLIS && !on_purpose {
            return Err(Refusal::Expiring { millis_left: left });
        }
        *lock(&self.last) = Some(credentials.clone());
        Ok(credentials)
    }

    /// As Go's `net/http` does, without recording what is not a request.
    async fn refuse_garbage(&self, connection: &mut Connection) -> Result<(), Ended> {
        let mut clearing = self.faults.clearing();
        let answer = answer::text(StatusCode::BAD_REQUEST, "400 Bad Request");
        let wire = Plan::default().wire(answer, true);
        for step in Delivery::default().steps(&wire) {
            connection.take(step, &mut clearing).await?;
        }
        Ok(())
    }
}

/// The request counts as answered when nothing but the last step is left, so that whoever has read the
/// answer does not find it in flight.
async fn deliver(
    connection: &mut Connection,
    steps: Vec<Step>,
    clearing: &mut Clearing,
    in_flight: InFlight<'_, AgentRequest>,
    outcome: AgentOutcome,
) -> Result<(), Ended> {
    let mut steps = steps.into_iter();
    let last = steps.next_back();
    for step in steps {
        connection.take(step, clearing).await?;
    }
    match last {
        Some(Step::Wait(wait)) => {
            connection.wait(&wait, clearing).await?;
            in_flight.answered(|request| request.outcome = Some(outcome));
            Ok(())
        }
        Some(step) => {
            in_flight.answered(|request| request.outcome = Some(outcome));
            connection.take(step, clearing).await
        }
        None => Ok(()),
    }
}

const BEARER: &str = "Bearer ";

/// With 15 s of life or less the official agent does not hand credentials out.
const LEAST_LIFE_MILLIS: i64 = 15_000;
