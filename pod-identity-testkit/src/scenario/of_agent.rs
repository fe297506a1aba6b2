use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::fault_words::FaultWords;
use super::order::{OrderError, Orderable};
use crate::{AgentFault, Gate, Stage};

impl Orderable for AgentFault {
    fn of(words: &FaultWords) -> Result<Vec<Self>, OrderError> {
        if words.without.is_some() {
            return Err(OrderError::EksAuthOnly);
        }
        if words.operation.is_some() {
            return Err(OrderError::OneOperation);
        }
        let mut faults = delays(words);
        faults.extend(changes(words)?);
        faults.extend(headers(words)?);
        faults.extend(answer(words)?);
        Ok(faults)
    }

    fn hold(stage: Stage, gate: Gate) -> Self {
        Self::Hold(stage, gate)
    }
}

fn delays(words: &FaultWords) -> Vec<AgentFault> {
    let faults = [
        words.latency.map(|time| AgentFault::Latency(time.0)),
        words.stall.map(AgentFault::Stall),
        words.drip.map(|time| AgentFault::Drip(time.0)),
    ];
    faults.into_iter().flatten().collect()
}

fn changes(words: &FaultWords) -> Result<Vec<AgentFault>, OrderError> {
    if words.expires_in.is_some() && words.expired_for.is_some() {
        return Err(OrderError::Both("expires_in and expired_for"));
    }
    let fields = words.fields.iter();
    let fields = fields.map(|(field, defect)| AgentFault::Field(*field, defect.clone()));
    let others = [
        words.expires_in.map(|time| AgentFault::ExpiresIn(time.0)),
        words.expired_for.map(|time| AgentFault::ExpiredFor(time.0)),
        words.expiration.map(AgentFault::Expiration),
        words.same_again.then_some(AgentFault::SameAgain),
        words.byte_order_mark.then_some(AgentFault::ByteOrderMark),
        words.gzip.then_some(AgentFault::Gzip),
        words.oversize.then_some(AgentFault::Oversize),
        words.chunked.then_some(AgentFault::Chunked),
    ];
    Ok(fields.chain(others.into_iter().flatten()).collect())
}

fn headers(words: &FaultWords) -> Result<Vec<AgentFault>, OrderError> {
    let mut faults = Vec::new();
    for (name, value) in &words.headers {
        // Not the value: a test may have put a secret in it.
        let unfit = || OrderError::Header(name.clone());
        let header = HeaderName::try_from(name).map_err(|_unfit| unfit())?;
        let value = HeaderValue::try_from(value).map_err(|_unfit| unfit())?;
        faults.push(AgentFault::Header(header, value));
    }
    match words.retry_after.map(|time| time.0) {
        None => {}
        Some(time) if time != Duration::from_secs(time.as_secs()) => {
            return Err(OrderError::PartsOfSeconds);
        }
        Some(time) => faults.push(AgentFault::retry_after(time)),
    }
    Ok(faults)
}

fn answer(words: &FaultWords) -> Result<Option<AgentFault>, OrderError> {
    if let Some(error) = words.service_error()? {
        return Ok(Some(error.into()));
    }
    if let Some(status) = with_status(words)? {
        return Ok(Some(status));
    }
    let faults = [
        words.body.clone().map(AgentFault::body),
        words.malformed.then(AgentFault::malformed),
        words.empty.then(AgentFault::empty),
        words.html.then(AgentFault::html),
        words.close.map(AgentFault::Close),
        words.reset.map(AgentFault::Reset),
    ];
    Ok(faults.into_iter().flatten().next())
}

fn with_status(words: &FaultWords) -> Result<Option<AgentFault>, OrderError> {
    match (words.known_status()?, &words.text, &words.redirect) {
        (_, Some(_), Some(_)) => Err(OrderError::Both("text and redirect")),
        (None, Some(_), None) => Err(OrderError::Needs("text", "status")),
        (Some(status), Some(text), None) => Ok(Some(AgentFault::text(status, text))),
        (Some(status), None, None) => Ok(Some(AgentFault::Status(status))),
        (None, None, None) => Ok(None),
        (status, None, Some(location)) => redirect(status.unwrap_or(302), location).map(Some),
    }
}

fn redirect(status: u16, location: &str) -> Result<AgentFault, OrderError> {
    if !(300..400).contains(&status) {
        return Err(OrderError::Redirect(status));
    }
    if HeaderValue::from_str(location).is_err() {
        return Err(OrderError::Header("the location of redirect".to_owned()));
    }
    Ok(AgentFault::redirect(status, location))
}
